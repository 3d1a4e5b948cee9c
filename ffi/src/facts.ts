import { attempt } from "./call.ts";
import { AT } from "./flags.ts";
import { readIfThere, readLinesWith } from "./fs.ts";
import type { Fact } from "./line.ts";
import { allocate, cstr } from "./memory.ts";

/** Facts of the host, read so that the fronts (c/facts.c) read the same. */

/** The lines of a file that contain `detail`, or all of it. */
export function textFact(path: string, detail = ""): Fact {
  return { kind: "text", path, detail, value: detail === "" ? (readIfThere(path) ?? "") : readLinesWith(path, detail) };
}

/** What `detail` names of a file, a letter each: see `Fact`. Empty when there is no such file. */
export function nodeFact(path: string, detail: string): Fact {
  const STATX_BASIC_STATS = 0x7ff;
  const memory = allocate(256);
  let value = "";
  if (attempt("statx", AT.FDCWD, cstr(path), 0, STATX_BASIC_STATS, memory) >= 0) {
    const words = new Uint32Array(memory.buffer);
    for (const letter of detail) value += `${field(words, letter)} `;
  }
  return { kind: "node", path, detail, value };
}

/** A field of struct statx, whose offsets are counted in words here. */
function field(words: Uint32Array, letter: string): string {
  switch (letter) {
    case "d":
      return `${words[34]}:${words[35]}`;
    case "i":
      return wide(words, 8);
    case "s":
      return wide(words, 10);
    case "m":
      return `${wide(words, 28)}.${words[30]}`;
    case "c":
      return `${wide(words, 24)}.${words[26]}`;
    case "u":
      return String(words[5]);
    default:
      return String((words[7] ?? 0) & 0xffff);
  }
}

function wide(words: Uint32Array, at: number): string {
  const high = words[at + 1] ?? 0;
  return high === 0 ? String(words[at]) : String((BigInt(high) << 32n) | BigInt(words[at] ?? 0));
}

/** This program: another build may compile another plan. */
export function buildFact(): Fact {
  // Whoever reads it has to be this program itself, not another one beside which this one still lies.
  return nodeFact(Bun.main.startsWith("/$bunfs/") ? "/proc/self/exe" : Bun.main, "dismc");
}

/** That a container is not frozen, by files of its groups: v1's freezer.state, or v2's cgroup.events. */
export function thawedFacts(freezers: readonly string[]): Fact[] {
  return freezers.flatMap((path) =>
    ["FR", "frozen 1"].map((detail): Fact => ({ kind: "lacks", path, detail, value: "" })),
  );
}

/** The soft limit of open files that this process has: not a fact, but what a front has to make so. */
export function openFiles(): number {
  return Number(/^Max open files +([0-9]+)/m.exec(readIfThere("/proc/self/limits") ?? "")?.[1] ?? 0);
}
