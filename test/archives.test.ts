/** Archives that others read and make: skopeo, umoci, podman and GNU tar are the outside opinion. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missing, newStore, type Result, run, type Store } from "./harness.ts";
import { pushImage, type Registry, startRegistry } from "./registry.ts";

const directory = mkdtempSync(join(tmpdir(), "bb-archives-"));
const tree = join(directory, "tree");
let registry: Registry;
let pulled = "";

beforeAll(async () => {
  mkdirSync(tree);
  await must(["sh", "-ec", TREE], tree);
  await must(["sh", "-ec", `mkdir tiny && echo x > tiny/file && tar -cf tiny.tar -C tiny .`], directory);
  registry = await startRegistry();
  pulled = `${registry.host}/tools/app:1.0`;
  await pushImage(registry, "tools/app:1.0", {
    layers: [{ script: "echo one > etc/one; rm -r home; mkdir -p opt/a; ln -s /etc/one opt/link" }],
    config: ["--config.cmd=/bin/true", "--config.label=tier=test"],
  });
}, 120_000);

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

/** One of everything that a root may hold, with times in whole seconds. */
const TREE = `
mkdir -p bin etc/deep dev empty; chmod 1777 empty
printf busy > bin/busy; chmod 4755 bin/busy; ln bin/busy bin/other; ln -s /bin/busy bin/absolute; ln -s ../../../etc/x etc/outward
printf data > etc/owned; chown 1234:4321 etc/owned; chmod 0640 etc/owned; chown -h 7:8 etc/outward
setfattr -n user.note -v 'some value' etc/owned 2>/dev/null || true
mkfifo dev/fifo; mknod dev/null c 1 3; mknod dev/loop b 7 0
long=$(printf 'd%.0s' $(seq 150)); mkdir -p $long/$long; printf long > $long/$long/file
printf bytes > "$(printf 'b\\376')"; printf bytes > "$(printf 'b\\377')"
truncate -s 3M holes; printf end >> holes
find . -exec touch -h -d @1600000000 {} +
`;

async function must(command: readonly string[], cwd?: string): Promise<string> {
  const result = await run(command, cwd === undefined ? {} : { cwd });
  if (result.code === 0) return result.stdout;
  throw new Error(`${command.join(" ")}: ${result.stderr}`);
}

/** What GNU tar makes of a tree: the same for trees that are equal in everything that a layer holds. */
async function archived(root: string): Promise<string> {
  const options =
    "--format=posix --sort=name --numeric-owner --xattrs --xattrs-include=user.* --xattrs-include=security.*";
  const times = "--pax-option=exthdr.name=x,delete=atime,delete=ctime";
  const listing = await must(
    ["sh", "-ec", `tar -c ${options} ${times} . | tar -tv --numeric-owner --full-time --quoting-style=escape`],
    root,
  );
  const hash = await must(["sh", "-ec", `tar -c ${options} ${times} . | sha256sum`], root);
  return listing + hash;
}

function onlyLayer(store: Store): string {
  const [layer = "", ...more] = readdirSync(join(store.root, "layers"));
  expect(more).toEqual([]);
  return join(store.root, "layers", layer);
}

async function digestOf(reference: string): Promise<string> {
  return (await must(["sh", "-c", `skopeo inspect --raw --tls-verify=false ${reference} | sha256sum`])).slice(0, 64);
}

test("pull, save, load and push: the manifest's digest is the registry's, and every byte the same", async () => {
  await using first = await newStore();
  await using second = await newStore();
  const before = await digestOf(`docker://${pulled}`);
  await first.ok(["pull", "-q", pulled]);
  for (const [at, format] of ["docker-archive", "oci-archive", "oci-dir"].entries()) {
    const path = join(directory, `round-${format}`);
    await first.ok(["save", "--format", format, "-o", path, pulled]);
    const loaded = await second.ok(["load", "-q", "-i", path]);
    expect(loaded).toBe(`Loaded image: ${pulled}`);
    const again = join(directory, `again-${at}.tar`);
    await second.ok(["save", "-o", again, pulled]);
    const copy = `${registry.host}/copy/${format}:1`;
    await second.ok(["tag", pulled, copy]);
    await second.ok(["push", "-q", copy]);
    expect(await digestOf(`docker://${copy}`)).toBe(before);
    await second.ok(["rmi", copy]);
    // And skopeo, which copies no digest that it would have to change.
    const skopeo = `docker://${registry.host}/skopeo/${format}:1`;
    const flags = ["--quiet", "--preserve-digests", "--dest-tls-verify=false"];
    await must(["skopeo", "copy", ...flags, `oci-archive:${again}:1.0`, skopeo]);
    expect(await digestOf(skopeo)).toBe(before);
    if (format === "docker-archive") expect(await must(["cmp", path, again])).toBe("");
    await second.ok(["rmi", pulled]);
    expect(readdirSync(join(second.root, "blobs/sha256"))).toEqual([]);
  }
}, 60_000);

test("umoci unpacks what we save of a directory as it was: owners, modes, links, devices, times, attributes", async () => {
  await using store = await newStore();
  await store.ok(["init", tree, "mine:1"]);
  const layout = join(directory, "mine-layout");
  await store.ok(["save", "--format", "oci-dir", "-o", layout, "mine:1"]);
  const bundle = join(directory, "mine-bundle");
  await must(["umoci", "unpack", "--image", `${layout}:1`, bundle]);
  expect(await archived(join(bundle, "rootfs"))).toBe(await archived(tree));
});

test("we load what skopeo and umoci make, the tree as it was", async () => {
  await using source = await newStore();
  await source.ok(["init", tree, "mine:1"]);
  const own = join(directory, "own.tar");
  await source.ok(["save", "-o", own, "mine:1"]);
  const expected = await archived(tree);
  const id = (await source.ok(["images", "-q", "--no-trunc"])).trim();
  const made: [string, string][] = [
    ["docker-archive", join(directory, "skopeo-docker.tar")],
    ["oci-archive", join(directory, "skopeo-oci.tar")],
    ["oci", join(directory, "skopeo-layout")],
  ];
  for (const [kind, path] of made) {
    await must(["skopeo", "copy", "--quiet", `oci-archive:${own}:1`, `${kind}:${path}:example.org/other/mine:2`]);
    await using store = await newStore();
    expect(await store.ok(["load", "-q", "-i", path])).toBe("Loaded image: example.org/other/mine:2");
    expect(await archived(onlyLayer(store))).toBe(expected);
    expect((await store.ok(["images", "-q", "--no-trunc"])).trim()).toBe(id);
    // What they compressed is stored and saved again as they made it.
    if (kind === "oci") {
      await store.ok(["save", "--format", "oci-dir", "-o", `${path}-again`, "example.org/other/mine:2"]);
      expect(readdirSync(join(`${path}-again`, "blobs/sha256")).sort()).toEqual(
        readdirSync(join(path, "blobs/sha256")).sort(),
      );
    }
  }
}, 60_000);

const podman = Bun.which("podman") === null;
test.skipIf(missing("podman is not installed", podman))(
  "podman loads what we save, and we load what it saves",
  async () => {
    await using store = await newStore();
    await store.ok(["pull", "-q", pulled]);
    const [id, saved] = [(await store.ok(["images", "-q", "--no-trunc"])).trim(), join(directory, "for-podman.tar")];
    await store.ok(["save", "-o", saved, pulled]);
    const base = [
      "podman",
      "--root",
      join(directory, "pod"),
      "--runroot",
      join(directory, "podrun"),
      "--storage-driver",
      "vfs",
    ];
    await must([...base, "load", "-q", "-i", saved]);
    expect((await must([...base, "images", "-q", "--no-trunc"])).trim()).toBe(id);
    for (const format of ["docker-archive", "oci-archive", "oci-dir"]) {
      const path = join(directory, `podman-${format}`);
      await must([...base, "save", "-q", "--format", format, "-o", path, pulled]);
      await using other = await newStore();
      expect(await other.ok(["load", "-q", "-i", path])).toBe(`Loaded image: ${pulled}`);
      expect((await other.ok(["images", "-q", "--no-trunc"])).trim()).toBe(id);
      expect(await other.ok(["run", "--rm", "--network", "none", pulled, "cat", "/etc/one"])).toBe("one");
    }
    // Its files belong to users that rm as root can remove, but its mounts must be gone first.
    await must([...base, "rmi", "-a", "-f"]);
  },
  60_000,
);

test("save and load speak through a pipe, and gzip and zstd in between are seen", async () => {
  await using first = await newStore();
  await first.ok(["pull", "-q", pulled]);
  const images = [
    "images",
    "--no-trunc",
    "--format",
    "{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}} {{.CreatedAt}} {{.Size}}",
  ];
  const before = await first.ok(images);
  for (const through of ["cat", "gzip -c", "zstd -qc"]) {
    await using second = await newStore();
    const script = `${first.command.join(" ")} save ${pulled} | ${through} | ${second.command.join(" ")} load -q`;
    expect(await must(["bash", "-ec", `set -o pipefail; ${script}`])).toBe(`Loaded image: ${pulled}\n`);
    expect(await second.ok(images)).toBe(before);
  }
}, 60_000);

test("a terminal gets and gives no archive; a file appears only when it is complete", async () => {
  await using store = await newStore();
  await store.ok(["init", tree, "mine:1"]);
  const script = (command: string): Promise<Result> =>
    run(["script", "-qec", `${store.command.join(" ")} ${command}`, "/dev/null"]);
  for (const command of ["save mine:1", "load"]) {
    const { code, stdout } = await script(command);
    expect([code, stdout]).toEqual([1, expect.stringContaining("terminal")]);
  }
  const imported = await store.bb(["import", tree, "mine:2"]);
  expect([imported.code, imported.stderr]).toEqual([
    1,
    expect.stringContaining("it is a directory\nhint: Make an image"),
  ]);
  const path = join(directory, "whole.tar");
  expect((await store.bb(["save", "-o", path, "mine:1", "nowhere:1"])).code).toBe(1);
  expect(existsSync(path)).toBe(false);
  await store.ok(["save", "-o", path, "mine:1"]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(directory).filter((name) => name.startsWith(".whole"))).toEqual([]);

  // /dev/full is a disk without room.
  const full = await store.bb(["save", "-o", "/dev/full", "mine:1"]);
  expect([full.code, full.stderr]).toEqual([1, expect.stringContaining("ENOSPC")]);
  expect(await store.ok(["save", "-o", "/dev/null", "mine:1"])).toBe("");
});

test("import makes an image of GNU tar's archive, the tree as it was, with a Dockerfile's instructions", async () => {
  await using store = await newStore();
  const tar = join(directory, "root.tar");
  await must(["tar", "-c", "--xattrs", "--xattrs-include=*", "--sparse", "-f", tar, "."], tree);
  const id = await store.ok(["import", "-c", 'CMD ["/bin/true"]', "-c", "ENV A=b", "-m", "by hand", tar, "mine:1"]);
  expect(await archived(onlyLayer(store))).toBe(await archived(tree));
  const template = "{{.Id}} {{.Comment}} {{json .Config.Cmd}} {{json .Config.Env}} {{json .RepoTags}}";
  expect(await store.ok(["image", "inspect", "-f", template, "mine:1"])).toBe(
    `${id} by hand ["/bin/true"] ["A=b"] ["mine:1"]`,
  );
  // By a pipe, compressed; and without a name.
  const piped = await must(["bash", "-ec", `gzip -c ${tar} | ${store.command.join(" ")} import -`]);
  expect(await store.ok(["images", "-q", "--no-trunc", "-f", "dangling=true"])).toBe(piped.trim());
  const fetched = await store.bb(["import", "http://127.0.0.1/root.tar"]);
  expect([fetched.code, fetched.stderr]).toEqual([125, expect.stringContaining("curl")]);
});

test("images, tag, history, inspect and prune, as Docker has them", async () => {
  await using store = await newStore();
  await store.ok(["pull", "-q", pulled]);
  const repository = pulled.slice(0, pulled.lastIndexOf(":"));
  await store.ok(["tag", pulled, "mine:latest"]);
  await store.ok(["image", "tag", "mine", "team/mine:2"]);
  expect((await store.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"])).split("\n").sort()).toEqual(
    [pulled, "mine:latest", "team/mine:2"].sort(),
  );
  expect(await store.ok(["images", "-q", "team/*"])).toMatch(/^[0-9a-f]{12}$/);
  expect(await store.ok(["image", "ls", "--format", "{{.Tag}}", "-f", "label=tier=test", "-f", "reference=mine"])).toBe(
    "latest",
  );
  expect(await store.ok(["images", "-q", "-f", "label=tier=other"])).toBe("");
  const unknown = await store.bb(["images", "-f", "colour=red"]);
  expect([unknown.code, unknown.stderr]).toEqual([125, expect.stringContaining("dangling, label")]);

  const id = (await store.ok(["images", "-q", "--no-trunc", "mine"])).trim();
  const [inspected] = JSON.parse(await store.ok(["image", "inspect", id.slice(7, 15)]));
  const digest = `sha256:${await digestOf(`docker://${pulled}`)}`;
  expect(inspected).toMatchObject({
    Id: id,
    RepoTags: [pulled, "mine:latest", "team/mine:2"].sort(),
    RepoDigests: expect.arrayContaining([`${repository}@${digest}`]),
    Architecture: process.arch === "arm64" ? "arm64" : "amd64",
    Os: "linux",
    RootFS: { Type: "layers", Layers: [expect.stringMatching(/^sha256:/), expect.stringMatching(/^sha256:/)] },
    Config: { Cmd: ["/bin/true"], Labels: { tier: "test" } },
    Descriptor: { digest },
  });
  expect(await store.ok(["images", "-q", `${repository}`])).toBe(id.slice(7, 19));
  expect((await store.bb(["image", "inspect", `${repository}@${digest}`])).code).toBe(0);
  const steps = (await store.ok(["history", "--no-trunc", "--format", "{{.ID}} {{.Size}}", "mine"])).split("\n");
  expect(steps[0]).toStartWith(id);
  expect(steps.length).toBeGreaterThan(1);

  // A name that moves on leaves an image without one.
  await store.ok(["rmi", pulled, "team/mine:2"]);
  await store.ok(["import", "-", "mine"], { stdin: await Bun.file(join(directory, "tiny.tar")).text() });
  await store.ok(["create", "--name", "box", "mine", "/file"]);
  const refused = await store.bb(["image", "prune"], { stdin: "n\n" });
  expect([refused.code, refused.stdout]).toEqual([1, ""]);
  expect(refused.stderr).toContain("WARNING!");
  const unanswered = await store.bb(["image", "prune"]);
  expect([unanswered.code, unanswered.stderr]).toEqual([125, expect.stringContaining("--force")]);
  const pruned = await store.bb(["image", "prune"], { stdin: "y\n" });
  expect([pruned.code, pruned.stdout]).toEqual([0, expect.stringContaining(`Deleted: ${id}`)]);
  expect(await store.ok(["image", "prune", "-af"])).toBe("Total reclaimed space: 0B");
  await store.ok(["rm", "box"]);
  expect(await store.ok(["image", "prune", "-a", "--force"])).toContain("Untagged: mine:latest");
  for (const below of ["layers", "blobs/sha256", "ingest"]) expect(readdirSync(join(store.root, below))).toEqual([]);
});
