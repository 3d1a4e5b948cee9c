/** bb cp, both ways: Docker's paths, resolved inside the container whatever it does. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxRoot, missing, newStore, type Result, run, type Store, until } from "./harness.ts";
import { patience } from "./patience.ts";

let image: string;
let base: string;

beforeAll(async () => {
  image = await busyboxRoot();
  base = mkdtempSync(join(tmpdir(), "bb-cp-"));
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** An empty directory of this test's. */
function directory(): string {
  return mkdtempSync(join(base, "d-"));
}

/** A container that runs and has a small tree. */
async function runningBox(store: Store, script = "", ...flags: string[]): Promise<void> {
  const setup = `mkdir -p /src/sub; echo one > /src/one; echo two > /src/sub/two; chmod 750 /src/sub; ln -s one /src/link; ${script}`;
  const command = ["sh", "-c", `${setup}\ntouch /ready; while :; do sleep 600; done`];
  await store.ok(["run", "-d", "--name", "box", "--network", "none", ...flags, image, ...command]);
  await until("it is set up", async () => (await store.bb(["exec", "box", "test", "-e", "/ready"])).code === 0);
}

/** Runs a shell in the container. */
async function inside(store: Store, script: string): Promise<string> {
  return await store.ok(["exec", "box", "sh", "-ec", script]);
}

/** Names below a directory, sorted; of links where they lead. */
function tree(path: string, prefix = ""): string[] {
  return readdirSync(path)
    .sort()
    .flatMap((name) => {
      const stat = lstatSync(join(path, name));
      if (stat.isSymbolicLink()) return [`${prefix}${name} -> ${readlinkSync(join(path, name))}`];
      return stat.isDirectory()
        ? [`${prefix}${name}/`, ...tree(join(path, name), `${prefix}${name}/`)]
        : [prefix + name];
    });
}

const ALL = ["link -> one", "one", "sub/", "sub/two"];

describe("Docker's rules for paths, out of a container", () => {
  let store: Store;
  beforeAll(async () => {
    store = await newStore();
    await runningBox(store, "ln -s /src/sub /dirlink; ln -s /nowhere /dangling");
  });
  afterAll(async () => await store[Symbol.asyncDispose]());
  const under = (names: readonly string[]): string[] => names.map((name) => `src/${name}`);

  test.each<[string, string, (d: string) => string, string[]]>([
    ["a file to a name that is free", "/src/one", (d) => `${d}/new`, ["new"]],
    ["a file into a directory", "/src/one", (d) => d, ["one"]],
    ["a file into a directory with a slash", "src/one", (d) => `${d}/`, ["one"]],
    ["a directory to a name that is free", "/src", (d) => `${d}/new`, ["new/", ...ALL.map((n) => `new/${n}`)]],
    ["the same with a slash", "/src/", (d) => `${d}/new/`, ["new/", ...ALL.map((n) => `new/${n}`)]],
    ["a directory into one that is there", "/src", (d) => d, ["src/", ...under(ALL)]],
    ["what is in a directory, by /.", "/src/.", (d) => d, ALL],
    [
      "what is in a directory, to a name that is free",
      "/src/.",
      (d) => `${d}/new`,
      ["new/", ...ALL.map((n) => `new/${n}`)],
    ],
    ["a link as it is", "/src/link", (d) => d, ["link -> one"]],
    ["a link to a directory, as it is", "/dirlink", (d) => d, ["dirlink -> /src/sub"]],
    ["what a link to a directory holds, by a slash", "/dirlink/", (d) => d, ["dirlink/", "dirlink/two"]],
    ["what is behind a link on the way", "/dirlink/two", (d) => d, ["two"]],
    ["by way of ..", "/src/sub/../one", (d) => d, ["one"]],
    ["never above the root", "/../../../src/one", (d) => d, ["one"]],
    ["a link that leads nowhere", "/dangling", (d) => d, ["dangling -> /nowhere"]],
  ])("%s", async (_, from, to, expected) => {
    const target = directory();
    await store.ok(["cp", `box:${from}`, to(target)]);
    expect(tree(target)).toEqual(expected);
  });

  test("-L copies what a link leads to, under the link's name", async () => {
    const target = directory();
    await store.ok(["cp", "-L", "box:/src/link", target]);
    await store.ok(["cp", "--follow-link", "box:/dirlink", target]);
    expect(tree(target)).toEqual(["dirlink/", "dirlink/two", "link"]);
    expect(readFileSync(join(target, "link"), "utf8")).toBe("one\n");
  });

  test("over a file replaces it, and by a link what that leads to", async () => {
    const target = directory();
    writeFileSync(join(target, "real"), "old");
    symlinkSync("real", join(target, "to"));
    await store.ok(["cp", "box:/src/one", join(target, "to")]);
    expect(tree(target)).toEqual(["real", "to -> real"]);
    expect(readFileSync(join(target, "real"), "utf8")).toBe("one\n");
  });

  test.each<[string, string, (d: string) => string, string]>([
    ["what is not there", "/none", (d) => d, "there is no such file or directory"],
    ["a file as a directory", "/src/one/", (d) => d, "is not a directory"],
    ["to a directory that is missing", "/src/one", (d) => `${d}/no/`, "there is no such directory"],
    ["below a directory that is missing", "/src", (d) => `${d}/no/where`, "there is no such file or directory"],
    ["a directory over a file", "/src", (d) => `${d}/file`, "that is a file"],
    ["a file over a directory", "/src/one", (d) => `${d}/sub`, "it is a directory"],
    ["a device that was asked for by name", "/dev/null", (d) => d, 'Cannot copy "box:/dev/null": it is the device 1:3'],
    ["links in a circle", "/circle/x", (d) => d, "links lead in a circle"],
  ])("refuses %s", async (_, from, to, expected) => {
    const target = directory();
    writeFileSync(join(target, "file"), "");
    mkdirSync(join(target, "sub/one"), { recursive: true });
    await inside(store, "ln -sf /circle /circle");
    const { code, stderr } = await store.bb(["cp", `box:${from}`, to(target)]);
    expect([code, stderr]).toEqual([1, expect.stringContaining(expected)]);
    expect(tree(target)).toEqual(["file", "sub/", "sub/one/"]);
  });

  test("the whole root, without what the kernel shows in it", async () => {
    const target = directory();
    await store.ok(["cp", "-q", "box:/", join(target, "root")]);
    const names = tree(join(target, "root"));
    expect(names).toEqual(expect.arrayContaining(["etc/hosts", "proc/", "sys/", "src/one", "src/link -> one"]));
    expect(names.filter((name) => /^(proc|sys|dev\/pts)\/./.test(name))).toEqual([]);
    const listed = await run(["sh", "-c", '"$@" | tar -t', "sh", ...store.command, "cp", "box:/", "-"]);
    const paths = listed.stdout.split("\n").map((path) => path.replace(/^\.?\//, ""));
    expect(paths).toEqual(expect.arrayContaining(["proc/", "src/one"]));
    expect(paths.filter((path) => /^(proc|sys|dev\/pts)\/./.test(path))).toEqual([]);
  });

  test("an empty path is refused, and not the directory that one is in", async () => {
    const cwd = directory();
    writeFileSync(join(cwd, "mine"), "");
    for (const [from, to, which] of [
      ["", "box:/src/new", "source"],
      ["box:/src/one", "", "target"],
    ] as const) {
      const { code, stderr } = await store.bb(["cp", from, to], { cwd });
      expect([code, stderr]).toEqual([125, `bb: Cannot copy: the ${which} is empty\n`]);
    }
    expect(tree(cwd)).toEqual(["mine"]);
  });

  test("refuses two containers, and none", async () => {
    const both = await store.bb(["cp", "box:/a", "box:/b"]);
    expect([both.code, both.stderr]).toEqual([125, expect.stringContaining("from one container to another")]);
    const none = await store.bb(["cp", "./a:b", "/c:d"]);
    expect([none.code, none.stderr]).toEqual([125, expect.stringContaining("neither path is in a container")]);
  });

  test("files belong to the caller, with -a to whom they belong; modes and times are kept", async () => {
    await inside(
      store,
      "echo x > /src/own; chown 1234:99 /src/own; chmod 640 /src/own; touch -d '2001-02-03 04:05:06' /src/own",
    );
    const target = directory();
    await store.ok(["cp", "box:/src/own", join(target, "plain")]);
    await store.ok(["cp", "-a", "box:/src/own", join(target, "archive")]);
    const facts = (name: string): unknown[] => {
      const { uid, gid, mode, mtimeMs } = statSync(join(target, name));
      return [uid, gid, (mode & 0o7777).toString(8), new Date(mtimeMs).toISOString()];
    };
    expect(facts("plain")).toEqual([0, 0, "640", "2001-02-03T04:05:06.000Z"]);
    expect(facts("archive")).toEqual([1234, 99, "640", "2001-02-03T04:05:06.000Z"]);
    await inside(store, "rm /src/own");
  });
});

describe("into a container", () => {
  let store: Store;
  beforeAll(async () => {
    store = await newStore();
    await runningBox(store, "mkdir /run; ln -s /run /var/run; ln -s /etc /abs", "-v", "vol:/vol", "--tmpfs", "/ram");
  });
  afterAll(async () => await store[Symbol.asyncDispose]());

  function source(): string {
    const path = join(directory(), "src");
    mkdirSync(join(path, "sub"), { recursive: true });
    writeFileSync(join(path, "one"), "one\n");
    writeFileSync(join(path, "sub/two"), "two\n");
    symlinkSync("one", join(path, "link"));
    linkSync(join(path, "one"), join(path, "same"));
    chmodSync(join(path, "sub"), 0o1751);
    utimesSync(join(path, "sub"), 1e9, 1e9);
    return path;
  }

  test.each<[string, string, string]>([
    ["a file system of its own", "/root/to", "/root/to"],
    ["a volume", "/vol/to", "/vol/to"],
    ["a tmpfs", "/ram/to", "/ram/to"],
    ["below an absolute link (/var/run -> /run)", "/var/run/to", "/run/to"],
  ])("a tree into %s", async (_, path, seen) => {
    await store.ok(["cp", source(), `box:${path}`]);
    const look = `cd ${seen}; find . | sort; stat -c '%a %u:%g %Y' sub; stat -c %h one; cat same; readlink link`;
    const expected = [".", "./link", "./one", "./same", "./sub", "./sub/two", "1751 0:0 1000000000", "2", "one", "one"];
    expect((await inside(store, look)).split("\n")).toEqual(expected);
  });

  test("keeps what is there, merges directories, and takes names from the source", async () => {
    await inside(store, "mkdir -p /root/merge/src/sub; chmod 700 /root/merge/src/sub; echo k > /root/merge/src/kept");
    const path = source();
    await store.ok(["cp", path, "box:/root/merge"]);
    await store.ok(["cp", `${path}/.`, "box:/root/merge/src"]);
    expect(await inside(store, "cd /root/merge/src; ls; stat -c %a sub; cat kept")).toBe(
      "kept\nlink\none\nsame\nsub\n700\nk",
    );
  });

  test("a relative path counts from the root, and a directory on the way is not made", async () => {
    const path = source();
    await store.ok(["cp", join(path, "one"), "box:etc"]);
    expect(await inside(store, "cat /etc/one")).toBe("one");
    const { stderr } = await store.bb(["cp", join(path, "one"), "box:/no/such"]);
    expect(stderr).toContain('"box:/no/such": there is no such file or directory');
  });

  test("a file that is mounted is written to: /etc/hosts, also by way of a link", async () => {
    const path = join(directory(), "hosts");
    writeFileSync(path, "127.0.0.1 elsewhere\n");
    await store.ok(["cp", path, "box:/abs/hosts"]);
    expect(await inside(store, "cat /etc/hosts")).toBe("127.0.0.1 elsewhere");
  });

  test("owners are root's; with -a they stay, and so does setuid, which needs its owner", async () => {
    const path = join(directory(), "tool");
    writeFileSync(path, "x");
    await run(["chown", "1234:99", path]);
    chmodSync(path, 0o4755);
    await store.ok(["cp", path, "box:/root/plain"]);
    await store.ok(["cp", "-a", path, "box:/root/archive"]);
    expect(await inside(store, "stat -c '%a %u:%g' /root/plain /root/archive")).toBe("755 0:0\n4755 1234:99");
  });

  test("a directory that the container's files lie below ends, without them", async () => {
    const whole = directory();
    await using around = await newStore({ seen: whole, path: whole, prefix: [] });
    await runningBox(around, "mkdir /to");
    writeFileSync(join(whole, "mine"), "");
    const { code, stderr } = await around.bb(["cp", whole, "box:/to/copy"], { timeoutMs: 30_000 });
    expect([code, stderr]).toEqual([0, expect.stringMatching(/Left out ".*": it is the container's own directory\n/)]);
    expect(await inside(around, "ls /to/copy")).toContain("mine");
    expect(await inside(around, "ls /to/copy/bb-test-*/lib/containers")).toBe("");
  });

  test("a directory that leads to where it is copied to ends, without that", async () => {
    const shared = directory();
    writeFileSync(join(shared, "mine"), "");
    await using around = await newStore();
    await runningBox(around, "", "-v", `${shared}:/shared`);
    for (const [from, to] of [
      ["box:/shared", join(shared, "out")],
      [shared, "box:/shared/in"],
    ] as const) {
      const { code, stderr } = await around.bb(["cp", from, to], { timeoutMs: 30_000 });
      expect([code, stderr]).toEqual([0, expect.stringMatching(/Left out "(out|in)": it is where the copy goes\n$/)]);
    }
    expect(tree(shared)).toEqual(["in/", "in/mine", "in/out/", "in/out/mine", "mine", "out/", "out/mine"]);
  });

  test.each(["host", "that directory"])("so does one that a container of %s is an overlay over", async (what) => {
    const shared = directory();
    mkdirSync(join(shared, "sub"));
    for (const name of ["mine", "sub/theirs"]) writeFileSync(join(shared, name), "");
    await using around = await newStore();
    const [root, source] = what === "host" ? ["host", shared] : [shared, ""];
    const command = what === "host" ? ["run", "-d"] : ["create"];
    await around.ok([...command, "--name", "box", "--network", "none", root, "sleep", "600"]);
    // A name that is free, and a directory that is there.
    for (const to of ["out", "sub"]) {
      const { code, stderr } = await around.bb(["cp", `box:${source}/.`, join(shared, to)], { timeoutMs: 30_000 });
      expect([code, stderr]).toEqual([0, expect.stringContaining(`Left out "${to}": it is where the copy goes\n`)]);
    }
    const names = tree(shared);
    for (const name of ["out/mine", "out/sub/theirs", "sub/mine", "sub/out/sub/theirs"]) expect(names).toContain(name);
    expect(names.filter((name) => name.includes("out/out") || name.includes("sub/sub"))).toEqual([]);
  });

  test("says how much it was on a terminal only", async () => {
    const result = await store.bb(["cp", join(source(), "one"), "box:/root/quiet"]);
    expect(result).toEqual({ code: 0, stdout: "", stderr: "" });
    const loud = await store.bb(["cp", "-q=false", join(source(), "one"), "box:/root/quiet"]);
    expect(loud.stderr).toBe("Successfully copied 4B to box:/root/quiet\n");
  });

  test("a tar stream, compressed or not; names stay below the directory, links lead inside", async () => {
    const path = source();
    const missing = await run(["sh", "-c", `tar -C ${path} -c . | "$@" cp - box:/root/un`, "sh", ...store.command]);
    expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining("there is no such directory")]);
    await inside(store, "mkdir -m 711 /root/un");
    const pipe = (tar: string): Promise<Result> =>
      run(["sh", "-c", `${tar} | "$@" cp - box:/root/un`, "sh", ...store.command]);
    expect((await pipe(`tar -C ${path} --owner=7 --group=8 -cz .`)).code).toBe(0);
    const look = "cd /root/un; find . | sort | tr '\\n' ' '; stat -c '%a %u:%g %h' . sub one";
    expect(await inside(store, look)).toBe(". ./link ./one ./same ./sub ./sub/two 711 0:0 3\n1751 7:8 2\n644 7:8 2");
    await inside(store, "cd /root/un; rm -r sub; ln -s /etc sub");
    expect((await pipe(`tar -C ${path} -c sub/two`)).code).toBe(0);
    expect(await inside(store, "cat /etc/two; test -L /root/un/sub && echo still")).toBe("two\nstill");
    expect((await pipe(`tar -P -C ${path} --transform 's,^sub/two,../../../tmp/out,' -c sub/two`)).code).toBe(0);
    expect(await inside(store, "ls /tmp; ls /root/un/tmp")).toBe("out");
    expect((await pipe("head -c 5000 /dev/urandom")).stderr).toContain("Cannot");
    expect((await pipe(`tar -C ${path} -c . | head -c 3000`)).code).toBe(1);
  });

  test("to standard output as a tar stream", async () => {
    const target = directory();
    const unpack = async (path: string): Promise<string[]> => {
      const out = mkdtempSync(join(target, "out-"));
      await run(["sh", "-c", `"$@" cp ${path} - | tar -x -C ${out}`, "sh", ...store.command]);
      return tree(out);
    };
    expect(await unpack("box:/src")).toEqual(["src/", ...ALL.map((name) => `src/${name}`)]);
    expect(await unpack("box:/src/.")).toEqual(ALL);
    expect(await unpack("box:/src/one")).toEqual(["one"]);
    expect(await unpack("box:/src/link")).toEqual(["link -> one"]);
    expect(await unpack("-L box:/src/link")).toEqual(["link"]);
  });
});

describe("a container that does not run", () => {
  test("is copied from and into like one that does, volumes and binds included", async () => {
    await using store = await newStore();
    const host = directory();
    const flags = ["--name", "box", "--network", "none", "-v", "vol:/vol", "-v", `${host}:/bound:ro`];
    await store.ok(["create", ...flags, image, "cat", "/vol/in", "/etc/in"]);
    const target = directory();
    writeFileSync(join(host, "b"), "bound\n");
    writeFileSync(join(target, "in"), "in\n");
    await store.ok(["cp", join(target, "in"), "box:/vol"]);
    await store.ok(["cp", join(target, "in"), "box:/etc/"]);
    expect(await store.ok(["start", "-a", "box"])).toBe("in\nin");
    await store.ok(["cp", "box:/bound/b", target]);
    await store.ok(["cp", "box:/vol/.", join(target, "vol")]);
    await store.ok(["cp", "box:/etc/passwd", target]);
    expect(tree(target)).toEqual(["b", "in", "passwd", "vol/", "vol/in"]);
    const { stderr } = await store.bb(["cp", join(target, "in"), "box:/bound/"]);
    expect(stderr).toContain("it is mounted read-only there");
    await store.ok(["start", "box"]);
  });

  test("and keeps its root read-only", async () => {
    await using store = await newStore();
    await store.ok(["create", "--name", "box", "--read-only", "--network", "none", "-v", "vol:/vol", image, "true"]);
    const file = join(directory(), "f");
    writeFileSync(file, "x");
    expect((await store.bb(["cp", file, "box:/etc/f"])).stderr).toContain("read-only");
    await store.ok(["cp", file, "box:/vol/f"]);
  });

  // Only there is its writable layer in memory: overlay takes no upper directory that lies in the lower one.
  const isElsewhere = statSync(tmpdir()).dev !== statSync("/").dev;
  test.skipIf(missing("stores are not on the file system of /", isElsewhere))(
    "of this machine's own root has nothing left",
    async () => {
      await using store = await newStore();
      await store.ok(["create", "--name", "box", "--network", "none", "host", "true"]);
      expect((await store.bb(["cp", "box:/etc/hostname", directory()])).stderr).toContain("its files are gone");
    },
  );
});

describe("hostile containers", () => {
  test("one that swaps what is on the way leads nowhere but into itself, both ways (CP-01)", async () => {
    await using store = await newStore();
    const canary = directory();
    writeFileSync(join(canary, "secret"), "the host's\n");
    // By the path of the host, which means something else inside.
    const swap = `mkdir -p ${canary} /real; echo mine > ${canary}/secret; for i in $(seq 100); do echo mine > /real/secret$i; echo mine > /real/secret; done
      (while :; do ln -sfn ${canary} /way; rm -f /way; ln -sfn ../../../../../../${canary} /way; rm -f /way; mkdir /way; cp /real/* /way 2>/dev/null; mv /way /gone$$ && rm -rf /gone$$; done) 2>/dev/null &`;
    await runningBox(store, swap, "-v", "vol:/vol");
    const target = directory();
    const inner = join(directory(), "in");
    mkdirSync(inner);
    for (let i = 0; i < 40; i++) writeFileSync(join(inner, `f${i}`), "from the host");
    for (let round = 0; round < 25; round++) {
      const out = join(target, `out${round}`);
      await store.bb(["cp", "box:/way/secret", out]);
      await store.bb(["cp", "box:/way/.", `${out}.d`]);
      await store.bb(["cp", `${inner}/.`, "box:/way/"]);
    }
    const texts = new Set<string>();
    const collect = (path: string): void => {
      const stat = lstatSync(path);
      if (stat.isDirectory()) for (const name of readdirSync(path)) collect(join(path, name));
      else if (stat.isFile()) texts.add(readFileSync(path, "utf8"));
    };
    collect(target);
    expect(texts.has("the host's\n")).toBe(false);
    expect(texts.has("mine\n")).toBe(true);
    expect(readdirSync(canary)).toEqual(["secret"]);
    expect(readFileSync(join(canary, "secret"), "utf8")).toBe("the host's\n");
  }, 600_000);

  test("one full of trojans has none of them executed or loaded (CP-02)", async () => {
    await using store = await newStore();
    const names = "xz gzip unpigz tar getent nsenter ps sh cp cat ld.so";
    const trojan = `mkdir -p /usr/local/bin /usr/bin /lib /usr/lib; for n in ${names}; do for d in /usr/local/bin /usr/bin; do
      printf '#!/bin/sh\\necho pwned > /pwned\\n' > $d/$n; chmod 755 $d/$n; done; done
      for l in libnss_files.so.2 libc.so.6 ld-linux-x86-64.so.2; do echo junk > /lib/$l; done; echo /lib/evil.so > /etc/ld.so.preload`;
    await runningBox(store, trojan);
    const target = directory();
    const traced = [
      ["cp", "box:/src", target],
      ["cp", target, "box:/root/back"],
      ["diff", "box"],
      ["commit", "box", "trojan"],
      ["export", "-o", join(target, "x.tar"), "box"],
    ];
    for (const args of traced) await store.ok(args, { env: { CANARY_TOKEN: "secret-of-the-caller" } });
    expect((await store.bb(["exec", "box", "/bin/busybox", "test", "-e", "/pwned"])).code).toBe(1);
    const { stdout } = await run(["grep", "-rl", "secret-of-the-caller", join(store.root, "containers"), target]);
    expect(stdout).toBe("");
  });

  test("what comes out stays at the destination, and its parents as they are (CP-03)", async () => {
    await using store = await newStore();
    const script = `mkdir -p '/src/a*b' /src/abc; chmod 777 /src; echo x > '/src/a*b/f'; echo y > /src/abc/f; ln -s ../../../../../../tmp /src/esc
      cp /bin/busybox /src/su; chmod 6755 /src/su; mknod /src/disk b 8 0; chmod 666 /src/disk`;
    await runningBox(store, script);
    const outer = directory();
    const target = join(outer, "dest");
    mkdirSync(join(target, "src"), { recursive: true });
    mkdirSync(`${target}-sibling`);
    chmodSync(target, 0o700);
    chmodSync(join(target, "src"), 0o710);
    const { stderr } = await store.bb(["cp", "box:/src", target]);
    expect(stderr).toContain("the device 8:0");
    await store.ok(["cp", "box:/src/a*b", join(outer, "glob")]);
    expect([statSync(target).mode & 0o777, statSync(join(target, "src")).mode & 0o777]).toEqual([0o700, 0o710]);
    expect(readdirSync(`${target}-sibling`)).toEqual([]);
    expect(tree(join(outer, "glob"))).toEqual(["f"]);
    expect(statSync(join(target, "src/su")).mode & 0o7777).toBe(0o755);
    expect(existsSync(join(target, "src/disk"))).toBe(false);
    expect(readlinkSync(join(target, "src/esc"))).toBe("../../../../../../tmp");
    // Where a link waits, none is followed: what is copied takes its place.
    const canary = directory();
    rmSync(join(target, "src/one"));
    symlinkSync(join(canary, "hit"), join(target, "src/one"));
    await store.bb(["cp", "box:/src", target]);
    expect(readdirSync(canary)).toEqual([]);
    expect(lstatSync(join(target, "src/one")).isFile()).toBe(true);
  });

  test("FIFOs, sockets, devices, growing and endless files hold nobody up (CP-07)", async () => {
    await using store = await newStore();
    const script = `mkfifo /src/fifo; mknod /src/zero c 1 5; echo end | dd of=/src/huge bs=1 seek=1000000000000 2>/dev/null
      (while :; do dd if=/dev/zero bs=64k count=4 2>/dev/null; sleep 0.01; done >> /src/grows) &`;
    await runningBox(store, script);
    const target = directory();
    const started = performance.now();
    const { code } = await store.bb(["cp", "box:/src", target]);
    expect(code).toBe(0);
    expect(performance.now() - started).toBeLessThan(patience(15_000));
    expect(lstatSync(join(target, "src/fifo")).isFIFO()).toBe(true);
    expect(statSync(join(target, "src/huge")).size).toBe(1_000_000_000_004);
    expect(statSync(join(target, "src/huge")).blocks).toBeLessThan(10_000);
    const { stdout } = await run(["sh", "-c", `"$@" cp box:/src - | wc -c`, "sh", ...store.command]);
    expect(Number(stdout)).toBeLessThan(500_000_000);
  });

  test("/proc of the container leads out of it by no name", async () => {
    await using store = await newStore();
    await runningBox(store);
    const target = directory();
    for (const path of [
      "/proc/1/root/etc/passwd",
      "/proc/self/root/etc/passwd",
      "/proc/1/cwd/etc/passwd",
      "/dev/fd/0/x",
    ]) {
      expect((await store.bb(["cp", `box:${path}`, target])).code).toBe(1);
    }
    expect(readdirSync(target)).toEqual([]);
  });
});
