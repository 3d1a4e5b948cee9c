/** The kernel's word on our filters: each is loaded, in throwaway processes of a small C program. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import fc from "fast-check";
import {
  ALL_CAPABILITIES,
  capabilityNames,
  capabilitySet,
  DEFAULT_CAPABILITIES,
  NO_CAPABILITIES,
} from "../capabilities.ts";
import { compileSeccomp } from "./compile.ts";
import { defaultSeccompFilter } from "./default-filter.ts";
import { decisiveCapabilities } from "./default-profile.ts";
import type { LinuxSeccomp, LinuxSeccompArg } from "./profile.ts";
import { syscallNumbers } from "./syscalls.ts";

const cc = Bun.which("cc");
const arch = process.arch === "arm64" ? "arm64" : "x64";
const numbers = syscallNumbers(arch === "x64" ? "x86_64" : "aarch64");
const EPERM = -1;
const ENOSYS = -38;
const EFAULT = -14;

let dir: string;

function load(filters: readonly Uint8Array[], probes: readonly string[] = []): string[] {
  const input = filters.flatMap((filter) => [new Uint8Array(Uint32Array.of(filter.length).buffer), filter]);
  const { stdout, exitCode } = Bun.spawnSync([`${dir}/load-filter`, ...probes], { stdin: Buffer.concat(input) });
  expect(exitCode).toBe(0);
  return stdout.toString().trimEnd().split("\n");
}

function probe(name: string, arg = 0): string {
  return `${numbers.get(name)}:${arg}`;
}

if (cc === null) console.warn("skipped: there is no C compiler to make the probe");

describe.skipIf(cc === null)("the kernel (needs cc)", () => {
  beforeAll(() => {
    dir = mkdtempSync(`${tmpdir()}/bb-seccomp-`);
    const source = `${import.meta.dir}/testdata/load-filter.c`;
    const { exitCode, stderr } = Bun.spawnSync(["cc", "-O1", "-Wall", "-o", `${dir}/load-filter`, source]);
    if (exitCode !== 0) throw new Error(stderr.toString());
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test("loads the default filter for every capability set that matters, and for both architectures", async () => {
    const single = capabilityNames(decisiveCapabilities()).map((name) => capabilitySet([name]));
    const sets = [DEFAULT_CAPABILITIES, NO_CAPABILITIES, ALL_CAPABILITIES, ...single];
    const filters: Uint8Array[] = [];
    for (const capabilities of sets) filters.push(await defaultSeccompFilter({ arch, capabilities }));
    filters.push(await defaultSeccompFilter({ arch: "arm64", capabilities: DEFAULT_CAPABILITIES }));
    filters.push(await defaultSeccompFilter({ arch: "x64", capabilities: DEFAULT_CAPABILITIES }));
    expect(load(filters)).toEqual(filters.map(() => "0"));
  });

  test("answers as the profile wants", async () => {
    const filter = await defaultSeccompFilter({ arch, capabilities: DEFAULT_CAPABILITIES });
    const calls = ["getpid", "mount", "bpf", "clone3", "listns", "keyctl"].map((name) => probe(name));
    const sockets = [38, 40, 2 ** 32 + 38].map((family) => probe("socket", family));
    expect(load([filter], [...calls, ...sockets, probe("clone", 0x1000_0000), probe("chdir")])).toEqual([
      [0, 0, EPERM, EPERM, ENOSYS, ENOSYS, EPERM, EPERM, EPERM, EPERM, EPERM, EFAULT].join(" "),
    ]);
  });

  test("kills where the filter says so", () => {
    const profile: LinuxSeccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["getpid"], action: "SCMP_ACT_KILL_PROCESS" }],
    };
    expect(load([compileSeccomp(profile, { arch })], [probe("gettid"), probe("getpid")])).toEqual(["0 0 killed 31"]);
  });

  test("loads what random profiles compile to", () => {
    const op = fc.constantFrom(...["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"].map((name) => `SCMP_CMP_${name}`));
    const value = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    const arg: fc.Arbitrary<LinuxSeccompArg> = fc.record({ index: fc.nat({ max: 5 }), value, valueTwo: value, op });
    const rule = fc.record({
      names: fc.uniqueArray(fc.constantFrom(...numbers.keys()), { minLength: 1, maxLength: 60 }),
      action: fc.constantFrom("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRAP"),
      args: fc.array(arg, { maxLength: 4 }),
    });
    const profiles = fc.sample(fc.array(rule, { minLength: 1, maxLength: 6 }), { numRuns: 40, seed: 19 });
    const filters = profiles.map((rules) => {
      const syscalls = rules.map(({ names, ...rest }) => ({
        ...rest,
        names: names.filter((name) => name !== "write"),
      }));
      const profile = { defaultAction: "SCMP_ACT_ALLOW", syscalls: syscalls.filter(({ names }) => names.length > 0) };
      return compileSeccomp(profile, { arch });
    });
    expect(load(filters)).toEqual(filters.map(() => "0"));
  });

  test("loads the longest program and refuses a longer one", () => {
    const filter = new Uint8Array(4096 * 8);
    for (let at = 0; at < filter.length; at += 8) filter.set([0x06, 0, 0, 0, 0, 0, 0xff, 0x7f], at);
    const args = Array.from(
      { length: 1000 },
      (_, nr): LinuxSeccompArg => ({ index: 0, value: 2 * nr, op: "SCMP_CMP_EQ" }),
    );
    const long = compileSeccomp(
      { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["getpid"], action: "SCMP_ACT_LOG", args }] },
      { arch },
    );
    expect(long.length / 8).toBeGreaterThan(3900);
    expect(load([filter, long, new Uint8Array(8)])).toEqual(["0", "0", "-22"]);
  });
});
