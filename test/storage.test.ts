/** One suite for all storage drivers: whatever lies on disk, containers see the same. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxRoot, missing, newStore, type Place, run, type Store, until } from "./harness.ts";
import { type MountedPlace, mountBtrfs, mountPlace } from "./mounted.ts";
import { pushImage, type Registry, startRegistry } from "./registry.ts";

const hasBtrfs = !missing("btrfs-progs is not installed", Bun.which("mkfs.btrfs") === null);
const hasReflinks = !missing("xfsprogs is not installed", Bun.which("mkfs.xfs") === null);
const none = ["--network", "none"];

let registry: Registry;
let name = "";
/** What the containers of the pulled image see, by overlay. */
let expected = "";
const places = new Map<string, MountedPlace>();

/** Type, mode, owner, time, links, size and name of everything in the image's directories, and what is in its files. */
const LIST = [
  "cd /",
  "find bin etc/[!hr]* home opt tmp usr var -type d -exec stat -c '%f %u:%g %n' {} + | sort -k3",
  // Of directories that the layers themselves name.
  "stat -c '%Y %n' opt/kept/x opt/l home/user tmp",
  "find bin etc/[!hr]* home opt tmp usr var ! -type d -exec stat -c '%f %u:%g %Y %h %s %N' {} + | sort -k6",
  "find bin etc/[!hr]* home opt usr -type f -exec md5sum {} + | sort -k2",
].join("; ");

beforeAll(async () => {
  registry = await startRegistry();
  name = `${registry.host}/storage/app:1`;
  await pushImage(registry, "storage/app:1", {
    layers: [
      {
        script:
          "mkdir -p opt/a/b opt/kept; echo 1 > opt/a/b/one; echo 1 > opt/a/two; echo 1 > opt/kept/x; ln -s a opt/l",
      },
      {
        script: "rm -r opt/a/b; echo 2 > opt/a/two; ln opt/a/two opt/hard; chown 7:8 home/user; chmod 4711 bin/busybox",
      },
      {
        script:
          "rm -r opt/a; mkdir opt/a; echo 3 > opt/a/three; rm opt/l; mkdir opt/l; echo 3 > opt/l/file; mkfifo opt/fifo",
      },
      {
        script:
          "rm opt/kept/x; mkdir opt/kept/x; echo 4 > opt/kept/x/y; touch -d '2001-02-03 04:05:06.789' etc/passwd; chmod 1777 tmp",
      },
    ],
  });
  await pushImage(registry, "storage/other:1", { layers: [{ script: "echo other > etc/other" }] });
  await using store = await newStore();
  await store.ok(["pull", "-q", name]);
  expected = await store.ok(["run", "--rm", ...none, name, "sh", "-c", LIST]);
  if (hasBtrfs) places.set("btrfs", await mountBtrfs());
  if (hasReflinks) {
    places.set("xfs", await mountPlace('truncate -s 600M "$FILE"; mkfs.xfs -q "$FILE"; mount -o loop "$FILE" "$DIR"'));
  }
}, 120_000);

afterAll(async () => {
  for (const place of places.values()) await place[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});

const DRIVERS: readonly (readonly [label: string, driver: string, place: string | undefined, isThere: boolean])[] = [
  ["overlay", "overlay", undefined, true],
  ["overlay on btrfs", "overlay", "btrfs", hasBtrfs],
  ["btrfs", "btrfs", "btrfs", hasBtrfs],
  ["copy", "copy", undefined, true],
  ["copy with reflinks", "copy", "xfs", hasReflinks],
];

/** A store of one driver. */
async function storeOf(driver: string, place: string | undefined): Promise<Store> {
  const where: Place | undefined = place === undefined ? undefined : places.get(place);
  const flags = driver === "overlay" ? [] : ["--storage-driver", driver];
  return await newStore({ seen: tmpdir(), path: tmpdir(), prefix: [], ...where, flags });
}

const layersOf = ({ root }: Store): string[] =>
  existsSync(join(root, "layers")) ? readdirSync(join(root, "layers")) : [];

for (const [label, driver, place, isThere] of DRIVERS) {
  describe.skipIf(!isThere)(label, () => {
    test("containers see what overlay shows: whiteouts, opaque directories, links, owners, modes and times", async () => {
      await using store = await storeOf(driver, place);
      await store.ok(["pull", "-q", name]);
      expect(await store.ok(["run", "--rm", ...none, name, "sh", "-c", LIST])).toBe(expected);
      await store.ok(["rmi", name]);
      expect(layersOf(store)).toEqual([]);
    });

    test("what a container writes is its own, and there when it starts again", async () => {
      await using store = await storeOf(driver, place);
      await store.ok(["init", await busyboxRoot(), "box"]);
      const script = "cat /etc/new 2>/dev/null; echo more >> /etc/new; rm -f /etc/group; ls /etc";
      await store.ok(["run", "--name", "one", ...none, "box", "sh", "-c", script]);
      const started = await store.ok(["start", "-a", "one"]);
      expect(started.split("\n")[0]).toBe("more");
      expect(started).not.toContain("group");
      expect(await store.ok(["run", "--rm", ...none, "box", "ls", "/etc"])).toContain("group");
      expect(await store.ok(["run", "--rm", ...none, "box", "cat", "/etc/group"])).toContain("wheel");
      expect(await store.ok(["inspect", "-f", "{{.Driver}}", "one"])).toBe(driver);
    });

    test("nothing is left of a container: by rm, by --rm, and when its creation fails", async () => {
      await using store = await storeOf(driver, place);
      await store.ok(["init", await busyboxRoot(), "box"]);
      await store.ok(["create", "--name", "one", ...none, "box", "true"]);
      await store.ok(["rm", "one"]);
      await store.ok(["run", "--rm", ...none, "box", "sh", "-c", "mkdir -p /a/b; echo x > /a/b/c"]);
      const failed = await store.bb(["run", ...none, "--name", "bad", "box", "/no/such/program"]);
      expect(failed.code).toBe(127);
      await store.ok(["rm", "bad"]);
      await until("all is gone", () => readdirSync(join(store.root, "containers")).length === 0);
      await store.ok(["rmi", "box"]);
      expect(layersOf(store)).toEqual([]);
    });

    test("images share layers, and keep them when another goes; pulls of both may run at once", async () => {
      await using store = await storeOf(driver, place);
      const other = `${registry.host}/storage/other:1`;
      await Promise.all([name, other, name].map((each) => store.ok(["pull", "-q", each])));
      await store.ok(["rmi", name]);
      expect(await store.ok(["run", "--rm", ...none, other, "cat", "/etc/other"])).toBe("other");
      await store.ok(["pull", "-q", name]);
      expect(await store.ok(["run", "--rm", ...none, name, "sh", "-c", LIST])).toBe(expected);
      await store.ok(["rmi", other, name]);
      expect(layersOf(store)).toEqual([]);
      const left = await store.bb(["images", "-q"]);
      expect([left.stdout, readdirSync(join(store.root, "blobs/sha256"))]).toEqual(["", []]);
    });

    test("a volume gets what the image has in its place, and users are the image's", async () => {
      await using store = await storeOf(driver, place);
      await store.ok(["init", await busyboxRoot(), "box"]);
      const script = "id -un; ls -d /etc/[!hr]*";
      const command = ["run", "--rm", ...none, "-v", "data:/etc", "-u", "user", "box", "sh", "-c", script];
      expect((await store.ok(command)).split("\n")).toEqual(["user", "/etc/group", "/etc/passwd"]);
    });

    test("a container's changes are told and committed; what is saved outlives the image below, and loads again", async () => {
      await using store = await storeOf(driver, place);
      await store.ok(["init", await busyboxRoot(), "box"]);
      const script = "echo hi > /new; rm /etc/group; mkdir /d; echo y > /d/f";
      await store.ok(["run", "--name", "one", ...none, "box", "sh", "-c", script]);
      expect((await store.ok(["diff", "one"])).split("\n").sort()).toEqual([
        "A /d",
        "A /d/f",
        "A /new",
        "C /etc",
        "D /etc/group",
      ]);
      await store.ok(["commit", "one", "made"]);
      await store.ok(["rm", "one"]);
      await store.ok(["rmi", "box"]);
      expect(await store.ok(["system", "check"])).toContain("as it should be");
      const archive = join(places.get(place ?? "")?.path ?? tmpdir(), `made-${process.pid}.tar`);
      await store.ok(["save", "-o", archive, "made"]);
      await store.ok(["rmi", "made"]);
      expect(layersOf(store)).toEqual([]);
      await store.ok(["load", "-q", "-i", archive]);
      const look = "cat /new /d/f; ls /etc/group 2>&1";
      expect(await store.ok(["run", "--rm", ...none, "made", "sh", "-c", `${look}; true`])).toBe(
        "hi\ny\nls: /etc/group: No such file or directory",
      );
      expect(await store.ok(["system", "check"])).toContain("as it should be");
      rmSync(join(places.get(place ?? "")?.seen ?? tmpdir(), `made-${process.pid}.tar`));
    });

    test("the host's root and directories are run all the same", async () => {
      await using store = await storeOf(driver, place);
      expect(await store.ok(["run", "--rm", ...none, await busyboxRoot(), "sh", "-c", "echo x > /x; cat /x"])).toBe(
        "x",
      );
      expect(await store.ok(["run", "--rm", ...none, "host", "echo", "here"])).toBe("here");
    });
  });
}

test.each(["overlay", "copy"])(
  "--storage-opt size= is refused by %s, which cannot, and nothing is left",
  async (driver) => {
    await using store = await storeOf(driver, undefined);
    await store.ok(["init", await busyboxRoot(), "box"]);
    const options = ["--storage-opt", "size=8m", ...none];
    for (const command of [
      ["run", ...options, "box", "true"],
      ["run", "--rm", ...options, await busyboxRoot(), "true"],
    ]) {
      const { code, stderr } = await store.bb(command);
      expect([code, stderr]).toEqual([125, expect.stringContaining("Cannot limit the container's size")]);
    }
    expect(readdirSync(join(store.root, "containers"))).toEqual([]);
    expect((await store.bb(["run", "--storage-opt", "volume=1", "box"])).stderr).toContain("size=1g");
  },
);

describe("the choice of a driver", () => {
  test("lasts: another one is refused, with the way out", async () => {
    await using store = await newStore();
    await store.ok(["init", await busyboxRoot(), "box"]);
    const refused = await store.bb(["--storage-driver", "copy", "run", "--rm", ...none, "box", "true"]);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toContain('was made with "overlay"');
    expect(refused.stderr).toContain("--root");
    expect((await store.bb(["--storage-driver", "copy", "pull", name])).stderr).toContain('was made with "overlay"');
    expect((await store.bb(["storage", "init", "--driver", "copy"])).stderr).toContain('was made with "overlay"');
    expect(await store.ok(["--storage-driver", "overlay", "storage", "info", "-f", "{{.driver}}"])).toBe("overlay");
  });

  test("is made by storage init for an empty store, and a name that is none is an error", async () => {
    await using store = await newStore();
    expect(JSON.parse(await store.ok(["storage", "init", "--driver", "copy", "--format", "json"]))).toEqual({
      driver: "copy",
      root: store.root,
      status: "chosen",
    });
    expect(await store.ok(["info", "-f", "{{.storageDriver}}"])).toBe("copy");
    await store.ok(["init", await busyboxRoot(), "box"]);
    await store.ok(["run", "--name", "one", ...none, "box", "true"]);
    expect(await store.ok(["inspect", "-f", "{{.Driver}}", "one"])).toBe("copy");
    const unknown = await store.bb(["--storage-driver", "zfs", "images"]);
    expect((await store.bb(["--storage-driver", "zfs", "init", await busyboxRoot(), "x"])).stderr).toContain(
      "overlay, btrfs, copy",
    );
    expect(unknown.code).toBe(0);
  });

  test("is configured for new stores in /etc/bantubox/storage.json", async () => {
    await using place = await mountPlace(
      'mount -t tmpfs none "$DIR"; mkdir -p "$DIR/etc" /etc/bantubox; mount --bind "$DIR/etc" /etc/bantubox',
    );
    await Bun.write(join(place.seen, "etc/storage.json"), '{"driver": "copy"}');
    await using store = await newStore(place);
    expect(await store.ok(["storage", "info", "-f", "{{.driver}}"])).toBe("copy");
    await Bun.write(join(place.seen, "etc/storage.json"), "{driver");
    expect((await store.bb(["storage", "info"])).stderr).toContain("it is not JSON");
  });

  test.skipIf(!hasBtrfs)("of btrfs without one is an error that says how to get it", async () => {
    await using store = await newStore();
    const refused = await store.bb(["--storage-driver", "btrfs", "init", await busyboxRoot(), "box"]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("bb storage init --driver btrfs");
    // Nothing was decided.
    await store.ok(["init", await busyboxRoot(), "box"]);
  });
});

describe.skipIf(!hasBtrfs)("storage init --driver btrfs", () => {
  /** A place whose mounts go with it. */
  const ownMounts = (): Promise<MountedPlace> => mountPlace('mount -t tmpfs -o size=400m none "$DIR"');

  test("makes a file, mounts it and says the line of fstab; again is no work; a bare root is not taken for a store", async () => {
    await using place = await ownMounts();
    await using store = await newStore(place);
    const root = store.root.replace(place.seen, place.path);
    const init = ["storage", "init", "--driver", "btrfs", "--size", "300m"];
    const said = await store.ok(init);
    expect(said).toContain(`${root}.btrfs ${root} btrfs loop,noatime,nofail 0 0`);
    expect(await store.ok(init)).toContain("Nothing to do");
    await store.ok(["init", await busyboxRoot(), "box"]);
    await store.ok(["run", "--name", "one", ...none, "box", "sh", "-c", "echo kept > /file"]);
    const info = JSON.parse(await store.ok(["storage", "info", "-f", "json"])) as Record<string, unknown>;
    expect(info).toMatchObject({
      driver: "btrfs",
      fileSystem: "btrfs",
      file: `${root}.btrfs`,
      layers: 1,
      containers: 1,
    });
    expect((await run([...place.prefix, "umount", root])).code).toBe(0);
    for (const command of [["images"], ["ps", "-a"], ["run", "--rm", ...none, "box", "true"], ["pull", name]]) {
      const result = await store.bb(command);
      expect(result.code).not.toBe(0);
      expect(result.stderr).toContain("is not mounted");
      expect(result.stderr).toContain("bb storage init");
    }
    // What fstab has.
    expect((await run([...place.prefix, "mount", "-o", "loop,noatime,nofail", `${root}.btrfs`, root])).code).toBe(0);
    expect(await store.ok(["run", "--rm", ...none, "box", "echo", "again"])).toBe("again");
    await until("nothing uses it", async () => (await run([...place.prefix, "umount", root])).code === 0);
    expect(await store.ok(["storage", "init"])).toContain("Mounted");
    expect(await store.ok(["ps", "-aq", "--no-trunc"])).toMatch(/^[0-9a-f]{64}$/);
    await store.ok(["rm", "one"]);
    await until("nothing uses it", async () => (await run([...place.prefix, "umount", root])).code === 0);
  });

  test("undoes what it did when the file cannot be made or mounted", async () => {
    await using place = await ownMounts();
    await using store = await newStore(place);
    const files = (): string[] => readdirSync(join(store.root, "..")).sort();
    const init = ["storage", "init", "--driver", "btrfs"];
    for (const [more, why] of [
      [["--size", "10m"], "btrfs needs more"],
      [["--size", "500g"], "MiB left"],
      [["--size", "300m", "--path", `${store.root.replace(place.seen, place.path)}/x`], "the store itself"],
      [["--size", "300m", "--path", "/etc/passwd"], "the file exists"],
      [["--size", "300m", "--path", "/no/such/dir/x"], "there is no directory"],
    ] as const) {
      const refused = await store.bb([...init, ...more]);
      expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining(why)]);
      expect(files()).toEqual(["lib", "run"]);
    }
    const hide = "mount --bind /dev/null /usr/sbin/mkfs.btrfs 2>/dev/null || mount --bind /dev/null /sbin/mkfs.btrfs";
    await run([...place.prefix, "sh", "-c", hide]);
    const broken = await store.bb([...init, "--size", "300m"]);
    expect(broken.code).toBe(1);
    expect(files()).toEqual(["lib", "run"]);
    // It is still a store like any other.
    await store.ok(["init", await busyboxRoot(), "box"]);
  });

  test("refuses a store that holds something", async () => {
    await using place = await ownMounts();
    await using store = await newStore(place);
    await store.ok(["init", await busyboxRoot(), "box"]);
    const refused = await store.bb(["storage", "init", "--driver", "btrfs", "--size", "300m"]);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("there are images or containers")]);
  });
});

describe.skipIf(!hasBtrfs)("on btrfs", () => {
  const subvolumes = async (): Promise<string> => {
    const { prefix, path } = places.get("btrfs") as MountedPlace;
    return (await run([...prefix, "btrfs", "subvolume", "list", path])).stdout;
  };

  test("subvolumes that a container made, read-only ones too, go with it", async () => {
    await using store = await storeOf("btrfs", "btrfs");
    await store.ok(["init", await busyboxRoot(), "box"]);
    await store.ok(["run", "--name", "one", ...none, "box", "true"]);
    const id = await store.ok(["ps", "-aq", "--no-trunc"]);
    const { prefix, path, seen } = places.get("btrfs") as MountedPlace;
    const root = join(store.root.replace(seen, path), "containers", id, "root");
    const script = `cd ${root} && mkdir d && btrfs subvolume create d/sub && btrfs subvolume create d/sub/deep && echo x > d/sub/deep/file && btrfs subvolume snapshot -r d/sub d/frozen`;
    const made = await run([...prefix, "sh", "-c", script]);
    expect([made.code, made.stderr]).toEqual([0, ""]);
    await store.ok(["rm", "one"]);
    expect(readdirSync(join(store.root, "containers"))).toEqual([]);
    await store.ok(["rmi", "box"]);
    expect(await subvolumes()).not.toContain(id);
  });

  test("--storage-opt size= stops a container from growing, its image not counted; others go on", async () => {
    await using store = await storeOf("btrfs", "btrfs");
    await store.ok(["init", await busyboxRoot(), "box"]);
    const fill = "dd if=/dev/zero of=/a bs=64k count=320 conv=fsync 2>&1; ls /bin/busybox";
    const limited = ["--name", "one", "--storage-opt", "size=8m", "box", "sh", "-c", fill];
    const said = await store.bb(["run", ...none, ...limited]);
    expect(said.stdout).toMatch(/Disk quota exceeded|No space left/);
    expect(said.stdout).toContain("/bin/busybox");
    const open = await store.ok(["run", "--rm", ...none, "box", "sh", "-c", fill]);
    expect(open).toContain("320+0 records out");
    await store.ok(["rm", "one"]);
  });

  test("a layer is a subvolume, a container a snapshot, and all of them are gone at the end", async () => {
    await using store = await storeOf("btrfs", "btrfs");
    const before = (await subvolumes()).split("\n").length;
    await store.ok(["pull", "-q", name]);
    expect((await subvolumes()).split("\n").length).toBe(before + 5);
    await store.ok(["create", "--name", "one", ...none, name, "true"]);
    expect((await subvolumes()).split("\n").length).toBe(before + 6);
    await store.ok(["rm", "one"]);
    await store.ok(["rmi", name]);
    expect((await subvolumes()).split("\n").length).toBe(before);
  });
});

test("an image of 200 layers starts, and its newest layer is on top", async () => {
  using served = await serveLayers(200);
  await using store = await newStore();
  await store.ok(["pull", "-q", served.name]);
  const script = "cat /top; ls /each | wc -l; echo w > /written; cat /written";
  expect(await store.ok(["run", "--name", "one", ...none, served.name, "sh", "-c", script])).toBe("layer 199\n200\nw");
  expect(await store.ok(["start", "-a", "one"])).toBe("layer 199\n200\nw");
  expect(await store.ok(["run", "--rm", ...none, served.name, "cat", "/top"])).toBe("layer 199");
});

/** A registry of one image: busybox, and on it layers of one file each and the same other one. */
async function serveLayers(count: number): Promise<{ name: string } & Disposable> {
  const blobs = new Map<string, Uint8Array<ArrayBuffer>>();
  const put = (content: string | Uint8Array<ArrayBuffer>): { digest: string; size: number } => {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const digest = `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
    blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  };
  const box = Bun.spawn(["tar", "-C", await busyboxRoot(), "-cf", "-", "."], { stdout: "pipe" });
  const layers = [put(await Bun.readableStreamToBytes(box.stdout))];
  for (let i = 0; i < count; i++) {
    layers.push(put(await new Bun.Archive({ top: `layer ${i}\n`, [`each/${i}`]: "x" }).bytes()));
  }
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const rootfs = { type: "layers", diff_ids: layers.map(({ digest }) => digest) };
  const config = put(JSON.stringify({ architecture, os: "linux", rootfs }));
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = put(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
      layers: layers.map((layer) => ({ mediaType: "application/vnd.oci.image.layer.v1.tar", ...layer })),
    }),
  );
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const { pathname } = new URL(request.url);
      const digest = pathname.includes("/manifests/")
        ? manifest.digest
        : (/sha256:[0-9a-f]+$/.exec(pathname)?.[0] ?? "");
      const headers = pathname.includes("/manifests/")
        ? { "Content-Type": mediaType, "Docker-Content-Digest": digest }
        : {};
      return new Response(blobs.get(digest) ?? "{}", { headers });
    },
  });
  return { name: `127.0.0.1:${server.port}/storage/many:1`, [Symbol.dispose]: () => void server.stop(true) };
}
