/** A CRIU that fails half way, and archives of strangers: by a program in CRIU's place, so that it runs everywhere. */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { busyboxRoot, newStore, run, type Store, until } from "./harness.ts";
import { newRuntime } from "./oci-harness.ts";
import { isAlive } from "./processes.ts";

const image = await busyboxRoot();
const QUIET = ["--network", "none"];

/** Says that it can work; as its service it does what the shell lines say. */
function criuThat(directory: string, lines: string): string {
  const path = join(directory, "criu");
  const answers = '[ "$1" = --version ] && echo Version: 3.17.1\n[ "$1" = swrk ] || exit 0';
  writeFileSync(path, `#!/bin/sh\n${answers}\n${lines}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** Dumps nothing, tells of `post-dump`, and then does what the lines say. */
function criuThatDumps(directory: string, lines: string): string {
  const service = join(directory, "service.ts");
  const script = `
    import { mkdirSync, readSync, writeSync } from "node:fs";
    const say = (hex: string): void => { writeSync(3, Buffer.from(hex, "hex")); };
    const hear = (): void => { readSync(3, Buffer.alloc(65536)); };
    hear();
    // criu_resp { type NOTIFY, success, notify { script "post-dump" } }
    say("08061001" + "2a0b0a09" + Buffer.from("post-dump").toString("hex"));
    hear();
    ${lines}
  `;
  writeFileSync(service, script);
  return criuThat(directory, `exec ${process.execPath} ${service}`);
}

/** criu_resp { type DUMP, success } */
const DONE = 'say("08011001");';
const FAILED = 'say("08011000");';

async function startBox(store: Store, ...args: string[]): Promise<string> {
  const id = await store.ok(["run", "-d", "--name", "box", ...QUIET, ...args, "sleep", "1000"]);
  return join(store.root, "containers", id);
}

async function status(store: Store): Promise<string> {
  return await store.ok(["inspect", "-f", "{{.State.Status}}", "box"]);
}

describe("a CRIU that fails half way", () => {
  test("when all was written: no checkpoint is left of a container that goes on", async () => {
    await using store = await newStore();
    const directory = await startBox(store, image);
    const failed = await store.bb(["checkpoint", "--criu", criuThatDumps(store.root, FAILED), "box"]);
    expect(failed.code).not.toBe(0);
    expect(failed.stderr).toContain("CRIU 3.17.1 could not: it did not say why");
    // There is none.
    expect(failed.stderr).not.toContain("Its log is");
    expect(await status(store)).toBe("running");
    expect(existsSync(join(directory, "checkpoint"))).toBe(false);
    expect((await store.bb(["restore", "box"])).stderr).toContain("it has no checkpoint");
  });

  test("killed while it has frozen the group: the container goes on, unless it was paused before", async () => {
    await using runtime = newRuntime();
    const id = runtime.id();
    await runtime.ok(["run", "--detach", "--bundle", await runtime.bundle(["sleep", "1000"]), id]);
    const images = join(runtime.directory, "images");
    const criu = criuThat(runtime.directory, `${runtime.command.join(" ")} pause ${id} >/dev/null 2>&1; kill -9 $$`);
    const checkpoint = ["--criu", criu, "checkpoint", "--image-path", images, id];
    expect((await runtime.oci(checkpoint)).stderr).toContain("could not");
    expect(await runtime.status(id)).toBe("running");
    await runtime.ok(["pause", id]);
    expect((await runtime.oci(checkpoint)).stderr).toContain("could not");
    expect(await runtime.status(id)).toBe("paused");
    await runtime.ok(["resume", id]);
    await runtime.ok(["delete", "--force", id]);
  });

  test("what another checkpoint has begun meanwhile is not this one's to remove", async () => {
    await using store = await newStore();
    const directory = await startBox(store, image);
    const lines = `mkdirSync(${JSON.stringify(join(directory, "checkpoint.new/dump"))}, { recursive: true }); ${DONE}`;
    await store.ok(["checkpoint", "--leave-running", "--criu", criuThatDumps(store.root, lines), "box"]);
    expect(readdirSync(join(directory, "checkpoint")).sort()).toEqual(["checkpoint.json", "config.json", "dump"]);
    expect(existsSync(join(directory, "checkpoint.new/dump"))).toBe(true);
  });

  test("a restore that fails leaves the checkpoint, and nothing that runs", async () => {
    await using store = await newStore();
    const directory = await startBox(store, image);
    await store.ok(["checkpoint", "-R", "--criu", criuThatDumps(store.root, DONE), "box"]);
    await store.ok(["stop", "-t", "0", "box"]);
    const failed = await store.bb(["restore", "--criu", criuThat(store.root, "exit 7"), "box"]);
    expect(failed.stderr).toContain("CRIU could not: it ended without a word");
    expect(await status(store)).toBe("exited");
    expect(existsSync(join(directory, "checkpoint/checkpoint.json"))).toBe(true);
  });

  test("gone, while what it has made still has its socket: nobody waits for that", async () => {
    await using store = await newStore();
    await startBox(store, image);
    await store.ok(["checkpoint", "-R", "--criu", criuThatDumps(store.root, DONE), "box"]);
    await store.ok(["stop", "-t", "0", "box"]);
    const criu = criuThat(store.root, `sleep 1000 & echo $! >${store.root}/sleeper; exit 7`);
    const failed = await store.bb(["restore", "--criu", criu, "box"], { timeoutMs: 30_000 });
    const sleeper = Number(readFileSync(join(store.root, "sleeper"), "utf8"));
    await until("it is ended, too", () => !isAlive(sleeper));
    expect(failed.stderr).toContain("CRIU could not: it ended without a word");
    expect(await status(store)).toBe("exited");
  });

  test("a Ctrl-C does not reach it: it has a session of its own", async () => {
    await using store = await newStore();
    await startBox(store, image);
    const criu = criuThat(store.root, `cut -d' ' -f1,6 /proc/$$/stat >${store.root}/session; exit 1`);
    expect((await store.bb(["checkpoint", "--criu", criu, "box"])).code).not.toBe(0);
    const [pid, session] = readFileSync(join(store.root, "session"), "utf8").trim().split(" ");
    expect(session).toBe(pid ?? "");
  });

  test("bb-oci: files beside the images that are not a checkpoint's are an error", async () => {
    await using runtime = newRuntime();
    const bundle = await runtime.bundle(["sleep", "1000"]);
    const criu = criuThat(runtime.directory, "exit 7");
    const images = join(runtime.directory, "images");
    mkdirSync(images);
    writeFileSync(join(images, "inventory.img"), "");
    const restore = ["--criu", criu, "restore", "--bundle", bundle, "--image-path", images, runtime.id()];
    for (const [descriptors, mounts] of [
      ["{}", "[]"],
      ["[1]", "[]"],
      ["[", "[]"],
      ["[]", '[{"point": "/x"}]'],
    ] as const) {
      writeFileSync(join(images, "descriptors.json"), descriptors);
      writeFileSync(join(images, "mounts.json"), mounts);
      const { code, stderr } = await runtime.oci(restore);
      expect(code).toBe(1);
      expect(stderr).toContain("is not what a checkpoint has written");
    }
    expect(existsSync(runtime.root) ? readdirSync(runtime.root) : []).toEqual([]);
  });
});

describe("an archive of a stranger's", () => {
  test("holds plain files that make sense, or nothing is made of it", async () => {
    await using store = await newStore();
    mkdirSync(store.root, { recursive: true, mode: 0o700 });
    const tar = join(store.root, "image.tar");
    await run(["tar", "-C", image, "-cf", tar, "."]);
    await store.ok(["import", tar, "box:1"], { timeoutMs: 60_000 });
    const box = await startBox(store, "box:1");
    const exported = join(store.root, "box.tar");
    await store.ok(["checkpoint", "-R", "--criu", criuThatDumps(store.root, DONE), "--export", exported, "box"]);
    const criu = criuThat(store.root, "exit 7");
    const outside = join(store.root, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "secret"), "the host's");

    const unpacked = join(store.root, "unpacked");
    /** What is said of the archive after the shell lines have changed it. */
    const said = async (lines: string): Promise<string> => {
      const archive = join(store.root, "changed.tar");
      const script = `rm -rf "$1"; mkdir "$1"; cd "$1"; tar -xf "$2"; ${lines}\ntar -cf "$3" .`;
      expect((await run(["sh", "-ec", script, "sh", unpacked, exported, archive])).code).toBe(0);
      const { code, stderr } = await store.bb(["restore", "--import", archive, "--criu", criu, "--name", "twin"], {
        timeoutMs: 20_000,
      });
      expect(code).not.toBe(0);
      expect(stderr).not.toContain("Unexpected");
      expect(readdirSync(join(store.root, "containers"))).toEqual([box.slice(box.lastIndexOf("/") + 1)]);
      return stderr;
    };
    const change = (file: string, from: string, to: string): string => {
      const path = join(unpacked, file);
      return `${process.execPath} -e '
        const text = require("fs").readFileSync("${path}", "utf8");
        const value = JSON.parse(text);
        value.${from} = ${to};
        require("fs").writeFileSync("${path}", JSON.stringify(value));'`;
    };

    // As it is, it comes as far as CRIU.
    const asItIs = await said(":");
    expect(asItIs).toContain("CRIU could not: it ended without a word");
    expect(asItIs).not.toContain("Its log is");
    expect(await said(`rm -r dump; ln -s ${outside} dump`)).toContain('"dump" is no plain file');
    expect(readdirSync(outside)).toEqual(["secret"]);
    expect(await said(`rm config.json; ln -s ${outside}/secret config.json`)).toContain(
      '"config.json" is no plain file',
    );
    // As in an image's archive.
    expect(await said("rm checkpoint.json; mkdir blobs")).toContain("it has no checkpoint.json");
    expect(await said("rm checkpoint.json; mkfifo checkpoint.json")).toContain('"checkpoint.json" is no plain file');
    expect(await said("rm upper.tar; mkfifo upper.tar")).toContain('"upper.tar" is no plain file');
    expect(await said(`ln -s ${outside}/secret dump/pages-1.img`)).toContain('"dump/pages-1.img" is no plain file');
    expect(await said("truncate -s 20M config.json")).toContain("is larger than");
    for (const name of ["config.json", "checkpoint.json", "upper.tar"])
      expect(await said(`rm ${name}`)).toContain(`it has no ${name}`);
    expect(await said("rm -r dump")).toContain("it has no dump/");
    expect(await said("echo no tar >upper.tar")).toContain("Cannot read the tar stream");
    expect(await said(change("config.json", "mounts", "[null]"))).toContain('"mounts[0]" must be an object');
    const mount = `[{ destination: "/x", type: "bind", source: "${store.root}/volumes/../containers" }]`;
    expect(await said(change("config.json", "mounts", mount))).toContain("it has a mount of");
    for (const [field, value] of [
      ["launch", "{}"],
      ["launch.detachKeys", "5"],
      ["launch.network", '"container:../x"'],
      ["address", '"../x"'],
      ["id", '"../x"'],
    ] as const)
      expect(await said(change("checkpoint.json", field, value))).toContain("is not one that this version wrote");
    for (const kind of ["host", "/"])
      expect(await said(change("checkpoint.json", "image", JSON.stringify(kind)))).toContain("it is not of an image");

    // Without --name it is the archive's.
    await said(change("checkpoint.json", "name", '"../\\u001b[31mbox"'));
    const named = await store.bb(["restore", "--import", join(store.root, "changed.tar"), "--criu", criu]);
    expect(named.stderr).toContain('Cannot name a container "../\\u001b[31mbox"');
    expect(readFileSync(join(outside, "secret"), "utf8")).toBe("the host's");
  }, 600_000);
});
