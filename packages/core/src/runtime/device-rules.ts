import type { DeviceRule } from "@bantubox/cgroup";

const NOTHING: DeviceRule = { allow: false, access: "rwm" };

/** Nodes may be made, but only these opened: what every container has below /dev. Later rules win. */
export const DEFAULT_DEVICE_RULES: readonly DeviceRule[] = [
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  { allow: true, type: "c", major: 1, minor: 3, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 5, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 7, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 8, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 9, access: "rwm" },
  { allow: true, type: "c", major: 5, minor: 0, access: "rwm" },
  { allow: true, type: "c", major: 5, minor: 1, access: "rwm" },
  { allow: true, type: "c", major: 5, minor: 2, access: "rwm" },
  { allow: true, type: "c", major: 136, access: "rwm" },
];

/** The rules of a config.json, which never take away what every container needs. Without any nothing else is allowed. */
export function settleDeviceRules(rules: readonly DeviceRule[] = []): DeviceRule[] {
  return [...(rules.length === 0 ? [NOTHING] : rules), ...DEFAULT_DEVICE_RULES];
}
