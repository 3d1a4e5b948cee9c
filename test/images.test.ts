/** Images from a real registry, run: S3's `pull`, `images`, `rm`, `run IMG`. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { busyboxRoot, newStore, run, type Store } from "./harness.ts";
import { pushImage, type Registry, startRegistry } from "./registry.ts";

let registry: Registry;
let name = "";

beforeAll(async () => {
  registry = await startRegistry();
  name = `${registry.host}/tools/app`;
  await pushImage(registry, "tools/app:1.0", {
    layers: [
      {
        script:
          "echo one > etc/one; mkdir -p opt/a/b; echo deep > opt/a/b/file; ln -s /etc/one opt/link; ln etc/one etc/hard",
      },
      {
        script:
          "rm etc/one; rm -r opt/a; mkdir opt/a; echo new > opt/a/new; chmod 4755 bin/busybox; chown 1000:1000 home/user",
      },
    ],
    config: [
      "--config.env=GREETING=hello world",
      "--config.workingdir=/opt/work",
      "--config.user=user",
      "--config.entrypoint=/bin/sh",
      "--config.entrypoint=-c",
      "--config.cmd=echo $GREETING; pwd; id -un",
      "--config.label=tier=test",
      "--config.stopsignal=SIGUSR1",
    ],
  });
}, 120_000);

afterAll(() => registry[Symbol.asyncDispose]());

const none = ["--network", "none"];

/** A shell in the image instead of its own entry point. */
function shell(store: Store, script: string, ...flags: string[]): Promise<string> {
  return store.ok(["run", "--rm", ...none, ...flags, "--entrypoint", "sh", `${name}:1.0`, "-c", script]);
}

test("S3: `bb pull NAME TAG` and `bb pull NAME:TAG` bring the same image, the second without work", async () => {
  await using store = await newStore();
  await store.ok(["pull", name, "1.0"]);
  const second = await store.bb(["pull", `${name}:1.0`]);
  expect([second.code, `${second.stdout}${second.stderr}`]).toEqual([0, expect.stringMatching(/up.to.date/i)]);
  const rows = (await store.ok(["images"])).split("\n");
  expect(rows.length).toBe(2);
  expect(rows[1]).toContain(`${registry.host}/tools/app`);
});

test("an image's Entrypoint, Cmd, Env, User, WorkingDir and labels hold, and options replace them", async () => {
  await using store = await newStore();
  // Not pulled before: run brings it.
  expect(await store.ok(["run", "--rm", ...none, `${name}:1.0`])).toBe("hello world\n/opt/work\nuser");
  expect(await store.ok(["run", "--rm", ...none, `${name}:1.0`, "echo other"])).toBe("other");
  expect(await store.ok(["run", "--rm", ...none, "-u", "0", "-w", "/tmp", "-e", "GREETING=hi", `${name}:1.0`])).toBe(
    "hi\n/tmp\nroot",
  );
  const [inspected] = JSON.parse(await store.ok(["inspect", `${name}:1.0`])) as [{ Config: Record<string, unknown> }];
  expect(inspected.Config).toMatchObject({
    User: "user",
    WorkingDir: "/opt/work",
    Labels: { tier: "test" },
    StopSignal: "SIGUSR1",
  });
});

test("layers lie on each other as the image says: whiteouts, opaque directories, links, owners, setuid", async () => {
  await using store = await newStore();
  const script =
    "ls /etc/one /opt/a/b 2>&1 | wc -l; ls /opt/a; cat /etc/hard; readlink /opt/link; stat -c '%a %u' /bin/busybox /home/user";
  expect((await shell(store, script)).split("\n")).toEqual(["2", "new", "one", "/etc/one", "4755 0", "755 1000"]);
});

test("a second image shares the layers that are here, and each goes with its last image", async () => {
  await pushImage(registry, "tools/other:1", { config: ["--config.cmd=/bin/true"] });
  await using store = await newStore();
  await store.ok(["pull", `${name}:1.0`]);
  await store.ok(["pull", `${registry.host}/tools/other:1`]);
  await store.ok(["rmi", `${name}:1.0`]);
  await store.ok(["run", "--rm", ...none, `${registry.host}/tools/other:1`]);
  await store.ok(["rmi", `${registry.host}/tools/other:1`]);
  expect(readdirSync(join(store.root, "layers"))).toEqual([]);
  expect(readdirSync(join(store.root, "blobs/sha256"))).toEqual([]);
});

test("S3: `bb rm` takes images too, but none that a container is made of", async () => {
  await using store = await newStore();
  await store.ok(["run", "--name", "keeps", ...none, `${name}:1.0`]);
  const refused = await store.bb(["rmi", `${name}:1.0`]);
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("keeps")]);
  await store.ok(["rm", "keeps"]);
  await store.ok(["rm", `${name}:1.0`]);
  expect((await store.ok(["images", "-q"])).trim()).toBe("");
});

test("no such image: near names where there are some, and status 125", async () => {
  await using store = await newStore();
  await store.ok(["pull", `${name}:1.0`]);
  const result = await store.bb(["run", "--rm", "--pull", "never", `${registry.host}/tools/ap:1.0`]);
  expect([result.code, result.stderr]).toEqual([125, expect.stringContaining("tools/app:1.0")]);
  const absent = await store.bb(["pull", `${registry.host}/tools/none:9`]);
  expect([absent.code, absent.stderr]).toEqual([1, expect.stringContaining("tools/none")]);
});

test("`bb init DIR NAME` makes an image that runs, is shared, and survives its directory", async () => {
  await using store = await newStore();
  await store.ok(["init", await busyboxRoot(), "box:2", "--cmd", '["echo", "from init"]', "-e", "A=b"]);
  expect(await store.ok(["run", "--rm", ...none, "box:2"])).toBe("from init");
  expect(await store.ok(["run", "--rm", ...none, "box:2", "sh", "-c", "echo $A; touch /x; ls /bin | wc -l"])).toMatch(
    /^b\n[0-9]{3}$/,
  );
  expect(existsSync(join(await busyboxRoot(), "x"))).toBe(false);
});

test("what is here is used for its platform; `host` and directories are nowhere else, for no other", async () => {
  await using store = await newStore();
  const root = await busyboxRoot();
  await store.ok(["init", root, "box:2"]);
  const own = process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
  const other = process.arch === "arm64" ? "linux/amd64" : "linux/arm64";
  for (const image of ["box:2", "host", root]) {
    expect(await store.ok(["run", "--rm", ...none, "--platform", own, image, "echo", "here"])).toBe("here");
  }
  expect(await store.ok(["run", "--rm", ...none, "--pull", "always", "host", "echo", "here"])).toBe("here");
  for (const [image, pull] of [
    ["box:2", "never"],
    ["host", "missing"],
    [root, "always"],
  ] as const) {
    const { code, stderr } = await store.bb(["run", "--rm", "--pull", pull, "--platform", other, image, "true"]);
    expect({ image, code, stderr }).toEqual({
      image,
      code: 125,
      stderr: expect.stringMatching(
        new RegExp(`^bb: Cannot run ".*" for ${other}: it is for (this machine, )?${own}\n`),
      ),
    });
  }
});

test("a pull that fails says what is here under the very name", async () => {
  await using store = await newStore();
  const here = `${registry.host}/tools/only-here:1`;
  await store.ok(["init", await busyboxRoot(), here]);
  const always = await store.bb(["run", "--rm", "--pull", "always", here, "true"]);
  expect([always.code, always.stderr]).toEqual([125, expect.stringContaining('is here: leave out "--pull always"')]);
  const foreign = await store.bb(["run", "--rm", "--platform", "linux/s390x", here, "true"]);
  expect([foreign.code, foreign.stderr]).toEqual([125, expect.stringContaining("leave out --platform to use it")]);
});

test("umoci unpacks what the registry has to the same tree that we run", async () => {
  await using store = await newStore();
  const directory = `${store.root}-umoci`;
  try {
    await run(["skopeo", "copy", "--quiet", "--src-tls-verify=false", `docker://${name}:1.0`, `oci:${directory}:x`]);
    const unpacked = await run(["umoci", "unpack", "--image", `${directory}:x`, `${directory}-bundle`]);
    expect(unpacked.code).toBe(0);
    // Overlay counts no links of directories that several layers have.
    const find = "find . -xdev ! -path './proc*' ! -path './sys*' ! -path './dev*'";
    const stat = "stat -c '%n %F %a %u:%g";
    const list = `{ ${find} -type d -exec ${stat}' {} +; ${find} ! -type d -exec ${stat} %h' {} +; } | sort`;
    const theirs = await run(["sh", "-c", list], { cwd: `${directory}-bundle/rootfs` });
    // What the engine itself puts into a root shows only in a container.
    const made = "^./(proc|sys|dev|etc/(hosts|hostname|resolv.conf)|opt/work| )|^. |^./(etc|opt) ";
    const kept = (text: string): string[] => text.split("\n").filter((line) => !new RegExp(made).test(line));
    const ours = await shell(store, `cd /; ${list}`, "-u", "0");
    expect(kept(ours)).toEqual(kept(theirs.stdout.trimEnd()));
  } finally {
    await run(["rm", "-rf", directory, `${directory}-bundle`]);
  }
});

test("two pulls at once fetch each layer once, and both succeed", async () => {
  await using store = await newStore();
  const results = await Promise.all([1, 2, 3].map(() => store.bb(["pull", `${name}:1.0`])));
  expect(results.map(({ code, stderr }) => [code, stderr.includes("Cannot")])).toEqual(Array(3).fill([0, false]));
  expect((await store.ok(["images", "-q"])).split("\n").length).toBe(1);
});
