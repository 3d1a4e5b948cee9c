import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { count, reporter, summary, tally } from "./tally.ts";

describe("count()", () => {
  test("adds up a report of bun test, and names what failed and why", () => {
    using place = directory();
    writeFileSync(
      join(place.path, "a.test.ts"),
      `import { expect, test } from "bun:test";
test("one & <two>", () => expect("x").toBe('"'));
test("three", () => {});
test.skip("four", () => {});`,
    );
    const file = join(place.path, "report.xml");
    const { exitCode } = Bun.spawnSync([process.execPath, "test", ...reporter(file), "a.test.ts"], {
      cwd: place.path,
      stderr: "ignore",
    });
    const total = tally();
    count(total, file, exitCode ?? 1);
    expect(total).toMatchObject({ passed: 1, failed: 1, skipped: 1 });
    expect(summary(total)).toContain("one & <two>");
    expect(summary(total)).toContain('Received: "x"');
    expect(summary(total)).toEndWith("1 passed, 1 failed, 1 skipped");
  });

  test("takes a missing report, and one that does not own up, for a failure", () => {
    using place = directory();
    const file = join(place.path, "report.xml");
    const total = tally();
    count(total, file, 0);
    writeFileSync(file, '<testsuites name="bun test" tests="3" failures="0" skipped="0"></testsuites>');
    count(total, file, 7);
    expect(total).toMatchObject({ passed: 3, failed: 2 });
    expect(summary(total)).toContain("ended with status 7");
  });
});

function directory(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "bb-tally-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
