/** AppArmor: the default profile, and whether a profile is there to be used. */
import { BoxError, existsSync, isErrno, readTextSync } from "@bantubox/ffi";

const DEFAULT_APPARMOR_PROFILE = "bantubox-default";

const ENABLED = "/sys/module/apparmor/parameters/enabled";
const LOADED = "/sys/kernel/security/apparmor/profiles";
const OWN_LABEL = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"];
const POLICY_DIR = "/etc/apparmor.d";
// Looked for in fixed places, not in the caller's PATH: it runs as root.
const PARSERS = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];

/** Whether the default profile confines containers on this host, and if not, why. */
export type AppArmorDefault =
  | { readonly profile: string; readonly note?: undefined }
  | { readonly profile: undefined; readonly note: string };

export function isAppArmorEnabled(): boolean {
  return read(ENABLED)?.trim() === "Y";
}

/**
 * Makes sure that the default profile is loaded, if this host can load it.
 *
 * A compiled policy takes apparmor_parser, which is the one program that we do
 * not replace. Without it containers run without AppArmor, as with Docker, and
 * `note` says so for `bb doctor`.
 *
 * Equivalent to: `apparmor_parser -Kr < profile`
 *
 * @throws {BoxError} `apparmor-load` if the parser is there and refuses.
 */
export function ensureAppArmorProfile(): AppArmorDefault {
  if (!isAppArmorEnabled()) return { profile: undefined, note: "the kernel runs without AppArmor" };
  const loaded = loadedProfiles();
  if (loaded === undefined) return { profile: undefined, note: `${LOADED} cannot be read: securityfs is not mounted` };
  if (loaded.has(DEFAULT_APPARMOR_PROFILE)) return { profile: DEFAULT_APPARMOR_PROFILE };
  const parser = PARSERS.find((path) => existsSync(path));
  if (parser === undefined)
    return { profile: undefined, note: "apparmor_parser is missing; it is in the package apparmor" };
  load(parser, appArmorProfile(hostPolicy()));
  return { profile: DEFAULT_APPARMOR_PROFILE };
}

/**
 * Checks a profile that was asked for by name.
 *
 * @throws {BoxError} `apparmor-missing` unless it is "unconfined" or loaded.
 */
export function requireAppArmorProfile(name: string): void {
  if (name === "unconfined") return;
  if (name === DEFAULT_APPARMOR_PROFILE && ensureAppArmorProfile().profile === name) return;
  const refuse = (state: string, hint?: string): BoxError =>
    new BoxError("apparmor-missing", `Cannot use AppArmor profile ${JSON.stringify(name)}: ${state}`, { hint });
  if (!isAppArmorEnabled()) throw refuse("the kernel runs without AppArmor");
  if (loadedProfiles()?.has(name) !== true)
    throw refuse("it is not loaded", "Load it with apparmor_parser -r FILE, of the package apparmor");
}

/** The names in a list as /sys/kernel/security/apparmor/profiles has it, lines of `NAME (MODE)`. */
export function parseLoadedProfiles(text: string): Set<string> {
  return new Set(text.split("\n").filter(Boolean).map(labelName));
}

/** What of the host shapes the profile's text. */
export interface AppArmorPolicy {
  /** The label that the engine itself runs under. */
  readonly engineLabel: string;
  /** Which of the distribution's policy files there are. */
  readonly hasAbi3: boolean;
  readonly hasTunables: boolean;
  readonly hasBase: boolean;
}

/**
 * Writes the default profile: everything is allowed that does not reach the host.
 *
 * It stands behind the read-only mounts and masks, for containers that remount
 * or unmount what they have, and closes AF_ALG to 32-bit programs, whose
 * socketcall(2) a seccomp filter cannot look into.
 */
export function appArmorProfile({ engineLabel, hasAbi3, hasTunables, hasBase }: AppArmorPolicy): string {
  const self = quote(DEFAULT_APPARMOR_PROFILE);
  const senders = [...new Set(["unconfined", "runc", "crun", engineLabel])];
  return [
    // From ABI 4 on, "network" leaves unix sockets out.
    ...(hasAbi3 ? ["abi <abi/3.0>,"] : []),
    hasTunables ? "include <tunables/global>" : "@{PROC}=/proc/",
    "",
    `profile ${self} flags=(attach_disconnected, mediate_deleted) {`,
    ...indent([
      ...(hasBase ? ["include <abstractions/base>"] : []),
      "capability,",
      "file,",
      "network,",
      "umount,",
      "deny mount,",
      "deny network alg,",
      "",
      "# Signals come from the engine and from each other, traces from each other only.",
      ...senders.map((label) => `signal (receive) peer=${quote(label)},`),
      `signal (send, receive) peer=${self},`,
      `ptrace (trace, tracedby, read, readby) peer=${self},`,
      "",
      "# Of /proc only a process's own directory and the shared memory limits can be written.",
      "deny @{PROC}/* w,",
      "deny @{PROC}/[^1-9s]*/** w,",
      "deny @{PROC}/s[^y]*/** w,",
      "deny @{PROC}/sy[^s]*/** w,",
      "deny @{PROC}/sys[^/]*/** w,",
      ...allBut("kernel/shm").map((pattern) => `deny @{PROC}/sys/${pattern} w,`),
      "deny @{PROC}/kcore rwklx,",
      "deny @{PROC}/sysrq-trigger rwklx,",
      "",
      "# Of /sys only cgroups.",
      ...allBut("fs/cgroup").map((pattern) => `deny /sys/${pattern} wklx,`),
      "deny /sys/devices/virtual/powercap/** rwklx,",
      "deny /sys/firmware/** rwklx,",
      "deny /sys/kernel/security/** rwklx,",
    ]),
    "}",
    "",
  ].join("\n");
}

/** Patterns that match every path but those that begin with `prefix`: policies know no "not". */
function allBut(prefix: string): string[] {
  return Array.from(prefix, (char, index) => `${prefix.slice(0, index)}[^${char}]**`);
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => (line === "" ? "" : `  ${line}`));
}

function quote(name: string): string {
  return `"${name.replace(/["\\]/g, "\\$&")}"`;
}

function hostPolicy(): AppArmorPolicy {
  const label = OWN_LABEL.map(read).find((text) => text !== undefined);
  return {
    engineLabel: label === undefined ? "unconfined" : labelName(label.trimEnd()),
    hasAbi3: existsSync(`${POLICY_DIR}/abi/3.0`),
    hasTunables: existsSync(`${POLICY_DIR}/tunables/global`),
    hasBase: existsSync(`${POLICY_DIR}/abstractions/base`),
  };
}

function load(parser: string, profile: string): void {
  // -K: no cache, which would be a write below /etc or /var.
  const { exitCode, stderr } = Bun.spawnSync([parser, "-Kr"], { stdin: Buffer.from(profile), env: {}, cwd: "/" });
  if (exitCode !== 0)
    throw new BoxError(
      "apparmor-load",
      `Cannot load AppArmor profile "${DEFAULT_APPARMOR_PROFILE}": ${stderr.toString().trim() || `${parser} exited with ${exitCode}`}`,
      { hint: "Use --security-opt apparmor=unconfined to run without" },
    );
}

function loadedProfiles(): Set<string> | undefined {
  const text = read(LOADED);
  return text === undefined ? undefined : parseLoadedProfiles(text);
}

// A name may hold blanks and parentheses; the mode stands in the last pair.
function labelName(label: string): string {
  return label.replace(/ \([^()]*\)$/, "");
}

function read(path: string): string | undefined {
  try {
    return readTextSync(path);
  } catch (error) {
    // EINVAL is what attr/current answers without a security module.
    if (isErrno(error, "ENOENT", "ENOTDIR", "EACCES", "EINVAL")) return undefined;
    throw error;
  }
}
