/** runc's own integration tests: tests/integration of its checkout, run by bats, file by file. */
import { chmodSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Examination } from "./examination.ts";
import { finish } from "./finish.ts";
import type { Case } from "./report.ts";
import { parseTap } from "./tap.ts";

/** The slowest file takes a minute on a quiet machine. */
const FILE_TIMEOUT_SECONDS = 600;

/**
 * Wants `bats`, `jq`, `gawk` and `script`; in the checkout the programs below contrib/cmd, and in
 * tests/integration/testdata the two root file systems that its get-images.sh names.
 */
export async function runRunc({ checkout, runtime, only, scratch, onCase }: Examination): Promise<Case[]> {
  const directory = join(checkout, "tests/integration");
  const files = readdirSync(directory).filter((name) => name.endsWith(".bats"));
  const bin = makeBin(scratch, runtime);
  const cases: Case[] = [];
  for (const file of files.filter((name) => only.length === 0 || only.some((text) => name.includes(text))).sort()) {
    // Its tests run containers with a terminal, and so must have one themselves.
    const { output, timedOut } = await finish(["script", "-qefc", `bats --tap --timing ${file}`, "/dev/null"], {
      cwd: directory,
      env: { RUNC: join(bin, "runc"), TMPDIR: scratch, PATH: `${bin}:${process.env["PATH"] ?? ""}` },
      scratch,
      timeoutSeconds: FILE_TIMEOUT_SECONDS,
    });
    const results = parseTap(output.replaceAll("\r", "")).map(
      ({ ok, name, skip, milliseconds, comments }): Case => ({
        name: `${file.replace(/\.bats$/, "")}: ${name}`,
        status: skip !== undefined ? "skip" : ok ? "ok" : "fail",
        seconds: milliseconds / 1000,
        detail: skip ?? (ok ? "" : comments.join("\n")),
      }),
    );
    if (timedOut || results.length === 0) {
      results.push({ name: file, status: "fail", seconds: 0, detail: timedOut ? "did not end in time" : output });
    }
    for (const result of results) onCase(result);
    cases.push(...results);
  }
  return cases;
}

/** What the suite calls: the runtime, whose help it wants to say "runc", and Go, which it asks for the architecture alone. */
function makeBin(scratch: string, runtime: string): string {
  const bin = join(scratch, "bin");
  mkdirSync(bin);
  symlinkSync(runtime, join(bin, "runc"));
  writeFileSync(join(bin, "go"), `#!/bin/sh\necho ${process.arch === "x64" ? "amd64" : process.arch}\n`);
  chmodSync(join(bin, "go"), 0o755);
  return bin;
}
