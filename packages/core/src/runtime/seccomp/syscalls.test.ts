import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { type Abi, syscallNumbers } from "./syscalls.ts";

// Where this machine's compilers keep <asm/unistd.h>, and what selects the ABI.
const COMPILERS: readonly (readonly [Abi, string, readonly string[]])[] = [
  ["x86_64", "/usr/bin/x86_64-linux-gnu-gcc", ["-include", "asm/unistd_64.h"]],
  ["x86", "/usr/bin/x86_64-linux-gnu-gcc", ["-include", "asm/unistd_32.h"]],
  ["x32", "/usr/bin/x86_64-linux-gnu-gcc", ["-D__X32_SYSCALL_BIT=0x40000000", "-include", "asm/unistd_x32.h"]],
  ["aarch64", "/usr/bin/aarch64-linux-gnu-gcc", ["-include", "asm/unistd.h"]],
];

// The count of calls, and where an architecture may begin its own.
const NO_CALLS = /^(syscalls|arch_specific_syscall)$/;

describe("syscallNumbers() agrees with the kernel's headers", () => {
  for (const [abi, compiler, flags] of COMPILERS) {
    if (!existsSync(compiler)) console.warn(`skipped: there is no ${compiler} to ask for ${abi}`);
    test.skipIf(!existsSync(compiler))(`for ${abi} (${compiler})`, () => {
      const { stdout, exitCode } = Bun.spawnSync([compiler, "-E", "-dM", ...flags, "-xc", "/dev/null"]);
      expect(exitCode).toBe(0);
      const table = syscallNumbers(abi);
      let count = 0;
      for (const [, name = "", value = ""] of stdout.toString().matchAll(/^#define __NR_(\w+) (.*)$/gm)) {
        const nr = evaluate(value);
        if (nr === undefined || NO_CALLS.test(name)) continue;
        count++;
        expect([name, table.get(name)]).toEqual([name, nr]);
      }
      expect(count).toBeGreaterThan(290);
    });
  }
});

test.each<[Abi, number, string, number]>([
  ["x86_64", 385, "rseq_slice_yield", 471],
  ["x86", 461, "futex_time64", 422],
  ["x32", 374, "execve", 0x4000_0208],
  ["aarch64", 327, "memfd_secret", 447],
  ["arm", 430, "set_tls", 0xf_0005],
])("%s has %p calls, %s is %p", (abi, count, name, nr) => {
  const table = syscallNumbers(abi);
  expect(table.size).toBe(count);
  expect(new Set(table.values()).size).toBe(count);
  expect(table.get(name)).toBe(nr);
});

function evaluate(value: string): number | undefined {
  const bit = /^\(__X32_SYSCALL_BIT \+ (\d+)\)$|^\((?:0x40000000) \+ (\d+)\)$/.exec(value);
  if (bit) return 0x4000_0000 + Number(bit[1] ?? bit[2]);
  return /^\d+$/.test(value) ? Number(value) : undefined;
}
