import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const directory = mkdtempSync(join(tmpdir(), "bb-arm64-"));
const ffi = join(import.meta.dir, "..");
const qemu = Bun.which("qemu-aarch64-static") ?? Bun.which("qemu-aarch64");
const isMissing = qemu === null || Bun.which("aarch64-linux-gnu-gcc") === null;
if (isMissing) console.error("skipped: the arm64 trampoline needs gcc-aarch64-linux-gnu and qemu-user-static");

afterAll(() => rmSync(directory, { recursive: true }));

// qemu-user has no clone3, so nothing is forked: a client that only attaches carries PREPARE out itself.
test.skipIf(isMissing)("the arm64 trampoline decodes a plan and carries it out up to the step that fails", () => {
  expect(Bun.spawnSync(["make", "-s", "-C", ffi, "arm64"]).exitCode).toBe(0);
  const [plan, out] = [join(directory, "plan"), join(directory, "out")];
  const compile = `
    Object.defineProperty(process, "arch", { value: "arm64" });
    const { MONITOR, Plan } = await import(${JSON.stringify(join(import.meta.dir, "plan.ts"))});
    const plan = new Plan();
    const pid = plan.register(2);
    const copy = plan.register();
    plan.prepare.sys("fcntl", 1, 0, 100).into(copy);
    plan.prepare.sys("write", copy, "prepared\\n", 9);
    plan.prepare.builtin("writeFile", -100, ${JSON.stringify(out)}, "written\\n", 8, 0o1101, 0o644);
    plan.prepare.sys("close", 9999).tolerate(9);
    plan.prepare.sys("close", 9999);
    plan.prepare.sys("write", copy, "not reached\\n", 12);
    await Bun.write(${JSON.stringify(plan)}, plan.encode({ flags: MONITOR.CLIENT_ONLY, pid, connection: copy }));`;
  expect(Bun.spawnSync([process.execPath, "-e", compile]).stderr.toString()).toBe("");
  const command = ["sh", "-c", 'exec "$@" 3 3<"$0"', plan, String(qemu), join(ffi, "build/trampoline-arm64")];
  const { exitCode, stdout } = Bun.spawnSync(command, { timeout: 20_000 });
  expect({ exitCode, stdout: stdout.toString() }).toEqual({ exitCode: 125, stdout: "prepared\n" });
  expect(readFileSync(out, "utf8")).toBe("written\n");
});
