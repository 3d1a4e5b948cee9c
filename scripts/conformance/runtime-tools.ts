/** The validation programs of opencontainers/runtime-tools: validation/NAME/NAME.t of its checkout, one after another. */
import { chmodSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Examination } from "./examination.ts";
import { type Finished, finish } from "./finish.ts";
import type { Case } from "./report.ts";
import { parseTap } from "./tap.ts";

/** Most take less than ten seconds; those that wait for a state give up after ten themselves, a few times. */
const PROGRAM_TIMEOUT_SECONDS = 180;
const ATTEMPTS = 3;

/** Wants the programs and `runtimetest` built. A program passes when everything in it does. */
export async function runRuntimeTools({ checkout, runtime, only, scratch, onCase }: Examination): Promise<Case[]> {
  const programs = readdirSync(join(checkout, "validation")).filter((name) =>
    existsSync(join(checkout, "validation", name, `${name}.t`)),
  );
  const wrapper = withStateIn(scratch, runtime);
  const cases: Case[] = [];
  for (const name of programs.filter((one) => only.length === 0 || only.includes(one)).sort()) {
    let result = await examine(name);
    // Several programs race with the containers they start, and lose on a busy machine.
    for (let attempt = 2; result.status === "fail" && attempt <= ATTEMPTS; attempt++) {
      const again = await examine(name);
      if (again.status !== "fail") result = { ...again, detail: `attempt ${attempt}` };
    }
    onCase(result);
    cases.push(result);
  }
  return cases;

  async function examine(name: string): Promise<Case> {
    const finished = await finish([`./validation/${name}/${name}.t`], {
      cwd: checkout,
      env: { RUNTIME: wrapper, TMPDIR: scratch },
      scratch,
      timeoutSeconds: PROGRAM_TIMEOUT_SECONDS,
    });
    removeAll(wrapper);
    return judge(name, finished);
  }
}

function judge(name: string, { output, code, seconds, timedOut }: Finished): Case {
  const results = parseTap(output);
  const assertions = results.filter(({ ok }) => ok).length;
  // Programs without statements tell of a failure by its description alone, and end with status 0 all the same.
  const silent = results.length === 0 && /"error":/.test(output);
  if (code !== 0 || silent || /^\s*not ok/m.test(output)) {
    const detail = `${timedOut ? "did not end in time" : `status ${code}`}\n${failuresOf(output)}`;
    return { name, status: "fail", seconds, detail, assertions };
  }
  const skipped = results.length > 0 && results.every(({ skip }) => skip !== undefined);
  const detail = skipped ? [...new Set(results.map(({ skip }) => skip))].join("; ") : "";
  return { name, status: skipped ? "skip" : "ok", seconds, detail, assertions };
}

/** A runtime that keeps its containers in a directory of this run: what a failed program leaves can be found. */
function withStateIn(scratch: string, runtime: string): string {
  const wrapper = join(scratch, "runtime");
  writeFileSync(wrapper, `#!/bin/sh\nexec ${runtime} --root ${join(scratch, "state")} "$@"\n`);
  chmodSync(wrapper, 0o755);
  return wrapper;
}

function removeAll(runtime: string): void {
  const { exitCode, stdout } = Bun.spawnSync([runtime, "list", "--quiet"], { stderr: "inherit" });
  if (exitCode !== 0) return;
  for (const id of stdout
    .toString()
    .split("\n")
    .filter((line) => line !== "")) {
    Bun.spawnSync([runtime, "delete", "--force", id], { stdout: "inherit", stderr: "inherit" });
  }
}

/** What a failed program printed: the statements that did not hold, and the first lines of all else. */
function failuresOf(output: string): string {
  const lines = output.split("\n").filter((line) => line !== "" && !/^(ok|TAP version|1\.\.|\s*"stdout")/.test(line));
  const failed = lines.filter((line) => /not ok|level=|error/.test(line));
  return [...(failed.length > 0 ? failed : lines).slice(0, 20)].map((line) => line.slice(0, 500)).join("\n");
}
