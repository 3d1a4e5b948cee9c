/** Volumes as things of their own; what lies on disk, and what of it nobody needs. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { busyboxRoot, newStore, run } from "./harness.ts";

const NET = ["--network", "none"];

describe("volumes", () => {
  test("are made, listed, looked at, used and deleted", async () => {
    await using store = await newStore();
    const image = await busyboxRoot();
    expect(await store.ok(["volume", "create", "data"])).toBe("data");
    expect(await store.ok(["volume", "create", "data"])).toBe("data");
    const anonymous = await store.ok(["volume", "create"]);
    expect(anonymous).toMatch(/^[0-9a-f]{64}$/);
    await store.ok(["run", "--name", "box", ...NET, "-v", "data:/data", image, "sh", "-c", "echo x > /data/x"]);
    expect(await store.ok(["volume", "ls", "-q"])).toBe([anonymous, "data"].sort().join("\n"));
    expect(await store.ok(["volume", "ls", "-q", "--filter", "dangling=true"])).toBe(anonymous);
    expect(await store.ok(["volume", "ls", "--format", "{{.Driver}} {{.Name}}", "-f", "name=dat"])).toBe("local data");
    const [info] = JSON.parse(await store.ok(["volume", "inspect", "data"]));
    expect(info).toMatchObject({ Name: "data", Driver: "local", Labels: {}, Scope: "local" });
    expect(readdirSync(info.Mountpoint)).toEqual(["x"]);
    expect((await store.bb(["volume", "rm", "data"])).stderr).toContain("containers use it (box)");
    await store.ok(["rm", "box"]);
    expect(await store.ok(["volume", "rm", "data", anonymous])).toBe(`data\n${anonymous}`);
    expect(await store.ok(["volume", "ls", "-q"])).toBe("");
    expect(readdirSync(join(store.root, "volumes"))).toEqual([]);
    // Another of the name has nothing of the first.
    expect(await store.ok(["run", "--rm", ...NET, "-v", "data:/data", image, "ls", "/data"])).toBe("");
  });

  test("that are not there, or misnamed, are errors", async () => {
    await using store = await newStore();
    expect((await store.bb(["volume", "rm", "none"])).stderr).toContain('Cannot find volume "none"');
    expect(await store.ok(["volume", "rm", "-f", "none"])).toBe("none");
    expect((await store.bb(["volume", "inspect", "none"])).code).toBe(1);
    expect((await store.bb(["volume", "create", "../x"])).stderr).toContain("the name is not valid");
  });

  test("are pruned when they have neither name nor user; what a killed command left goes with them", async () => {
    await using store = await newStore();
    const image = await busyboxRoot();
    await store.ok(["volume", "create", "named"]);
    await store.ok(["run", "--name", "box", ...NET, "-v", "/kept", image, "true"]);
    const anonymous = await store.ok(["volume", "create"]);
    writeFileSync(join(store.root, "volumes", anonymous, "_data/f"), Buffer.alloc(1 << 20));
    mkdirSync(join(store.root, "volumes/.gone-x/_data"), { recursive: true });
    const refused = await store.bb(["volume", "prune"]);
    expect([refused.code, refused.stderr]).toEqual([125, expect.stringContaining("--force")]);
    const text = await store.ok(["volume", "prune", "-f"]);
    expect(text).toBe(`Deleted Volumes:\n${anonymous}\n\nTotal reclaimed space: 1.05MB`);
    expect(readdirSync(join(store.root, "volumes"))).toHaveLength(2);
    expect(existsSync(join(store.root, "volumes/.gone-x"))).toBe(false);
    expect(await store.ok(["volume", "prune", "-af"])).toStartWith("Deleted Volumes:\nnamed\n");
  });
});

describe("system df", () => {
  test("counts layers once, and says what is not needed", async () => {
    await using store = await newStore();
    await store.ok(["init", await busyboxRoot(), "box:1"]);
    const write = "dd if=/dev/zero of=/f bs=1M count=3 2>/dev/null; truncate -s 1G /sparse; ln /f /g";
    await store.ok(["run", "--name", "box", ...NET, "-v", "data:/data", "box:1", "sh", "-c", write]);
    await store.ok(["commit", "box", "box:2"]);
    await store.ok(["volume", "create", "free"]);
    const lines = (await store.ok(["system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Active}}"])).split("\n");
    expect(lines).toEqual(["Images|2|1", "Containers|1|0", "Local Volumes|2|1"]);
    const sizes = (await store.ok(["system", "df", "--format", "{{.Size}} {{.Reclaimable}}"])).split("\n");
    expect(sizes[1]).toMatch(/^3\.1[0-9]?MB 3\.1[0-9]?MB \(100%\)$/);
    const details = await store.ok(["system", "df", "-v"]);
    expect(details).toMatch(/^box +1 .* 1$/m);
    expect(details).toMatch(/^free +0 +0B$/m);
    const { Images, Containers, Volumes } = JSON.parse(await store.ok(["system", "df", "-v", "--format", "json"]));
    expect([Images.length, Containers[0].Names, Containers[0].LocalVolumes]).toEqual([2, "box", "1"]);
    expect(Volumes).toContainEqual({ Name: "free", Links: "0", Size: "0B" });
    expect(await store.ok(["ps", "-as", "--format", "{{.Names}} {{.Size}}"])).toMatch(/^box 3\.1[0-9]?MB$/);
    const headings = ["Images space usage:", "Containers space usage:", "Local Volumes space usage:"];
    for (const heading of headings) expect(details).toContain(heading);
  });
});

describe("container prune", () => {
  test("removes what does not run, as filtered, and asks first", async () => {
    await using store = await newStore();
    const image = await busyboxRoot();
    await store.ok(["run", "-d", "--name", "runs", ...NET, image, "sleep", "600"]);
    const ended = await store.ok(["create", "--name", "ended", "-l", "keep=no", ...NET, image, "true"]);
    await store.ok(["create", "--name", "kept", "-l", "keep", ...NET, image, "true"]);
    expect((await store.bb(["container", "prune"])).code).toBe(125);
    expect(await store.ok(["container", "prune", "-f", "--filter", "until=1h"])).toBe("Total reclaimed space: 0B");
    const text = await store.ok(["container", "prune", "-f", "--filter", "label=keep=no"]);
    expect(text).toStartWith(`Deleted Containers:\n${ended}\n`);
    await store.ok(["container", "prune", "-f", "--filter", "label!=keep"]);
    expect(await store.ok(["ps", "-a", "--format", "{{.Names}}"])).toBe("kept\nruns");
    // On a terminal it asks; only a yes is one.
    const ask = (answer: string): Promise<unknown> =>
      run(["script", "-qec", [...store.command, "container", "prune"].join(" "), "/dev/null"], {
        stdin: `${answer}\n`,
      });
    await ask("n");
    expect(await store.ok(["ps", "-a", "--format", "{{.Names}}"])).toBe("kept\nruns");
    await ask("y");
    expect(await store.ok(["ps", "-a", "--format", "{{.Names}}"])).toBe("runs");
  });
});

describe("system prune", () => {
  test("removes containers, images and volumes that nothing needs, and no others", async () => {
    await using store = await newStore();
    const image = await busyboxRoot();
    for (const name of ["used:1", "free:1"]) await store.ok(["init", image, name, "-l", `for=${name}`]);
    await store.ok(["run", "-d", "--name", "runs", ...NET, "used:1", "sleep", "600"]);
    await store.ok(["run", "--name", "ended", ...NET, "-v", "/anonymous", "-v", "named:/named", "used:1", "true"]);
    await store.ok(["run", "--name", "other", ...NET, "free:1", "touch", "/new"]);
    await store.ok(["commit", "other"]);
    expect((await store.bb(["system", "prune"])).code).toBe(125);
    expect(await store.ok(["system", "prune", "-f"])).toMatch(
      /^Deleted Containers:\n(?:[0-9a-f]{64}\n){2}\nDeleted Images:\n/,
    );
    expect((await store.ok(["images", "--format", "{{.Repository}}"])).split("\n").sort()).toEqual(["free", "used"]);
    expect((await store.ok(["volume", "ls", "-q"])).split("\n")).toHaveLength(2);
    await store.ok(["system", "prune", "-a", "--force", "--volumes"]);
    expect(await store.ok(["images", "--format", "{{.Repository}}"])).toBe("used");
    expect(await store.ok(["volume", "ls", "-q"])).toBe("named");
    expect(await store.ok(["ps", "--format", "{{.Names}}"])).toBe("runs");
  });
});
