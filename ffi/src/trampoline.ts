import arm64 from "../build/trampoline-arm64" with { type: "file" };
import x64 from "../build/trampoline-x64" with { type: "file" };
import { attempt, call } from "./call.ts";
import { ERRNO } from "./errno.ts";
import { Fd } from "./fd.ts";
import { addressOf, allocate, cstr } from "./memory.ts";

/** Flags of memfd_create(2) and fcntl(2)'s seals, from <linux/memfd.h> and <linux/fcntl.h>. */
const MFD = { CLOEXEC: 1, ALLOW_SEALING: 2, EXEC: 0x10 } as const;
const F_ADD_SEALS = 1033;
const F_SETFD = 2;
const SEALS = 1 | 2 | 4 | 8;
const AT_EMPTY_PATH = 0x1000;

/**
 * The trampoline in a memfd that nobody can change any more: what a container
 * finds behind /proc/PID/exe is neither a file of the host nor writable (CVE-2019-5736).
 */
export async function openTrampoline(): Promise<Fd> {
  const path = process.arch === "arm64" ? arm64 : x64;
  // A bundle knows it by a name beside itself, which must not be looked for where the caller happens to be.
  const file = Bun.file(path.startsWith("/") ? path : `${import.meta.dir}/${path}`);
  return sealed("bantubox", await file.bytes(), MFD.EXEC);
}

/** A plan in a sealed memfd, for the trampoline to map. */
export function openPlan(plan: Uint8Array): Fd {
  return sealed("plan", plan, 0);
}

/**
 * Becomes the trampoline: same pid, same terminal, and none of this process's memory. Returns only by throwing.
 *
 * @param plan The plan's descriptor, which the trampoline inherits.
 */
export function becomeTrampoline(trampoline: Fd, plan: Fd): never {
  call("fcntl", "on the plan", plan.raw, F_SETFD, 0);
  const argv = stringArray(["bb", String(plan.raw)]);
  const environment = stringArray([]);
  const path = cstr("");
  call("execveat", "the trampoline", trampoline.raw, path, argv.array, environment.array, AT_EMPTY_PATH);
  // Naming what the arrays point to keeps it alive up to here.
  throw new Error(`The trampoline did not start: ${argv.keep.length + environment.keep.length} strings`);
}

function sealed(name: string, content: Uint8Array, flags: number): Fd {
  const text = cstr(name);
  let raw = attempt("memfd_create", text, MFD.CLOEXEC | MFD.ALLOW_SEALING | flags);
  // Before Linux 6.3 there is no MFD_EXEC, and every memfd may be executed.
  if (raw === -ERRNO.EINVAL) raw = call("memfd_create", `"${name}"`, text, MFD.CLOEXEC | MFD.ALLOW_SEALING);
  using fd = new Fd(raw);
  let at = 0;
  while (at < content.length) {
    at += call("write", `"${name}"`, raw, content.subarray(at), content.length - at);
  }
  call("fcntl", `on "${name}"`, raw, F_ADD_SEALS, SEALS);
  return new Fd(fd.take());
}

/** An array of C strings ended by null; `keep` holds what it points to. */
function stringArray(texts: readonly string[]): { array: Uint8Array; keep: Uint8Array[] } {
  const keep = texts.map(cstr);
  const array = allocate((texts.length + 1) * 8);
  const view = new DataView(array.buffer);
  keep.forEach((bytes, i) => {
    view.setBigUint64(i * 8, BigInt(addressOf(bytes)), true);
  });
  return { array, keep };
}
