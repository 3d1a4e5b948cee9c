import { BoxError } from "@bantubox/ffi";
import type { UnitProperty } from "./properties.ts";

/**
 * systemd's manager, asked by systemd's own `busctl`: where systemd runs, that is there, and speaks D-Bus as the
 * system's bus does. A client of our own, or a package's, would be loaded by every command and used by few.
 */
const MANAGER = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"] as const;
const TIMEOUT_S = 60;
/** Podman calls a runtime's delete without any environment. */
const USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * Calls a method of the manager, and waits for its answer.
 *
 * @param signature Of the arguments that `words` spell out.
 * @throws {BoxError} `systemd-failed` with what systemd said, `no-systemd-unit` where it knows no such unit.
 */
export function callManager(method: string, signature: string, words: readonly string[]): void {
  const busctl = Bun.which("busctl", { PATH: process.env["PATH"] || USUAL_PATH });
  const fail = (why: string, code = "systemd-failed"): BoxError =>
    new BoxError(code, `Cannot ask systemd to ${METHODS[method] ?? method} ${JSON.stringify(words[0])}: ${why}`);
  if (busctl === null) throw fail('its program "busctl" is not in PATH');
  const { exitCode, stderr } = Bun.spawnSync(
    [busctl, "--system", "--quiet", `--timeout=${TIMEOUT_S}`, "call", "--", ...MANAGER, method, signature, ...words],
    { stdin: "ignore", stdout: "ignore", stderr: "pipe", env: {} },
  );
  if (exitCode === 0) return;
  const why = stderr
    .toString()
    .trim()
    .replace(/^Call failed: /, "");
  throw fail(why, / not loaded\.?$/.test(why) ? "no-systemd-unit" : "systemd-failed");
}

/** Properties as an argument of type `a(sv)`. */
export function propertyWords(properties: readonly UnitProperty[]): string[] {
  const words = properties.flatMap(({ name, signature, values }) => [name, signature, ...values.map(String)]);
  return [String(properties.length), ...words];
}

const METHODS: Readonly<Record<string, string>> = {
  StartTransientUnit: "start",
  SetUnitProperties: "limit",
  StopUnit: "stop",
  GetUnit: "find",
};
