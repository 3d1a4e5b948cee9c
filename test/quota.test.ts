/** `--storage-opt size=` on overlay: project quotas of XFS, where the kernel has them. */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { busyboxRoot, missing, newStore } from "./harness.ts";
import { mountPlace } from "./mounted.ts";

const XFS = 'truncate -s 400M "$FILE"; mkfs.xfs -q "$FILE"; mount -o loop';
const noTools = missing("mkfs.xfs is not installed", Bun.which("mkfs.xfs") === null);
const absent =
  noTools || missing("the kernel has no quotas for XFS", !(await mounts(`${XFS},prjquota "$FILE" "$DIR"`)));
const none = ["--network", "none"];
const fill = (path: string) => `dd if=/dev/zero of=${path} bs=64k count=320 conv=fsync 2>&1`;

async function mounts(line: string): Promise<boolean> {
  try {
    await using _place = await mountPlace(line);
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(absent)("XFS with prjquota", () => {
  test("a container cannot grow beyond its size, its image not counted; others go on", async () => {
    await using place = await mountPlace(`${XFS},prjquota "$FILE" "$DIR"`);
    await using store = await newStore(place);
    await store.ok(["init", await busyboxRoot(), "box"]);
    expect(JSON.parse(await store.ok(["storage", "info", "--format", "json"]))).toMatchObject({ sizeLimits: true });
    const limited = ["--storage-opt", "size=8m", "box", "sh", "-c", `${fill("/a")}; rm /a; ls /bin/busybox`];
    const said = await store.bb(["run", "--name", "one", ...none, ...limited]);
    expect(said.stdout).toMatch(/Disk quota exceeded|No space left/);
    expect(said.stdout).toContain("/bin/busybox");
    // It keeps its limit over a new start, and another has one of its own.
    expect(await store.ok(["start", "-a", "one"])).toMatch(/Disk quota exceeded|No space left/);
    const small = ["--storage-opt", "size=8m", "box", "sh", "-c", "dd if=/dev/zero of=/a bs=64k count=64 2>&1"];
    expect(await store.ok(["run", "--rm", ...none, ...small])).toContain("64+0 records out");
    expect(await store.ok(["run", "--rm", ...none, "box", "sh", "-c", fill("/a")])).toContain("320+0 records out");
    // Renames between directories, links and what is copied up stay within the project.
    const moves = "mkdir /d && echo x > /d/f && mv /d/f /etc/f && ln /etc/f /d/g && mv /d /e && rm /bin/busybox";
    expect(await store.ok(["run", "--rm", ...none, "--storage-opt", "size=8m", "box", "sh", "-c", moves])).toBe("");
    await store.ok(["rm", "one"]);
    expect(readdirSync(join(store.root, "containers"))).toEqual([]);
  }, 120_000);
});

describe.skipIf(noTools)("XFS without prjquota", () => {
  test("a size is refused, and the hint says how to mount it", async () => {
    await using place = await mountPlace(`${XFS} "$FILE" "$DIR"`);
    await using store = await newStore(place);
    await store.ok(["init", await busyboxRoot(), "box"]);
    const { code, stderr } = await store.bb(["run", ...none, "--storage-opt", "size=8m", "box", "true"]);
    expect(code).toBe(125);
    expect(stderr).toContain("does not lie on an XFS with project quotas");
    expect(stderr).toContain('"prjquota"');
    expect(readdirSync(join(store.root, "containers"))).toEqual([]);
  }, 120_000);
});
