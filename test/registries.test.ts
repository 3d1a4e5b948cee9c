/** Registries from outside: Debian's docker-registry, with passwords and certificates, and skopeo's opinion of what we push. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxRoot, newStore, run, type Store, until } from "./harness.ts";
import { pushImage, type Registry, startRegistry } from "./registry.ts";

const directory = mkdtempSync(join(tmpdir(), "bb-registries-"));
const PASSWORD = "s3cret:with colon";
const none = ["--network", "none"];
let open: Registry;
let guarded: Registry;

beforeAll(async () => {
  const htpasswd = `me:${Bun.password.hashSync(PASSWORD, { algorithm: "bcrypt", cost: 4 })}\n`;
  [open, guarded] = await Promise.all([startRegistry(), startRegistry({ htpasswd })]);
  await pushImage(open, "tools/app:1.0", {
    layers: [{ script: "echo one > etc/one; mkdir opt; dd if=/dev/urandom of=opt/noise bs=1M count=3 2>/dev/null" }],
    config: ["--config.cmd=/bin/true"],
  });
}, 120_000);

afterAll(async () => {
  await open[Symbol.asyncDispose]();
  await guarded[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** The digest of a manifest as skopeo reads it. */
async function skopeoDigest(name: string, ...flags: string[]): Promise<string> {
  const { code, stdout, stderr } = await run([
    "skopeo",
    "inspect",
    "--tls-verify=false",
    "--format={{.Digest}}",
    ...flags,
    `docker://${name}`,
  ]);
  if (code !== 0) throw new Error(stderr);
  return stdout.trim();
}

/** Environment in which Docker's configuration is a directory of the test's own. */
function home(name: string): { env: Record<string, string>; file: string } {
  const path = join(directory, name);
  mkdirSync(path, { recursive: true });
  return { env: { DOCKER_CONFIG: path }, file: join(path, "config.json") };
}

function pushedDigest(text: string): string {
  return /digest: (sha256:[0-9a-f]{64}) size: [0-9]+$/m.exec(text)?.[1] ?? text;
}

async function initBox(store: Store, name: string): Promise<void> {
  await store.ok(["init", await busyboxRoot(), name, "--cmd", '["echo", "from init"]']);
}

test("login, push, logout: as Docker's config.json has it, and skopeo with the same file sees the same digest", async () => {
  await using store = await newStore();
  const { env, file } = home("login");
  const name = `${guarded.host}/team/app:1`;
  await initBox(store, name);

  const denied = await store.bb(["push", "-q", name], { env });
  expect([denied.code, denied.stderr]).toEqual([1, expect.stringContaining(`bb login ${guarded.host}`)]);
  const wrong = await store.bb(["login", "-u", "me", "--password-stdin", guarded.host], { env, stdin: "wrong" });
  expect([wrong.code, existsSync(file)]).toEqual([1, false]);
  const login = await store.bb(["login", "-u", "me", "--password-stdin", guarded.host], {
    env,
    stdin: `${PASSWORD}\n`,
  });
  expect([login.code, login.stdout]).toEqual([0, "Login Succeeded\n"]);
  expect(login.stdout + login.stderr).not.toContain(PASSWORD);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({
    auths: { [guarded.host]: { auth: btoa(`me:${PASSWORD}`) } },
  });

  const digest = pushedDigest(await store.ok(["push", name], { env }));
  expect(await skopeoDigest(name, `--authfile=${file}`)).toBe(digest);
  expect(pushedDigest(await store.ok(["push", name], { env }))).toBe(digest);

  await using other = await newStore();
  expect(await other.ok(["run", "--rm", "--quiet", ...none, name], { env })).toBe("from init");
  expect(await store.ok(["logout", guarded.host], { env })).toContain(guarded.host);
  expect((await other.bb(["pull", `${guarded.host}/team/app:1`], { env })).code).toBe(1);
});

test("what skopeo logged in to, we are logged in to, and the other way round", async () => {
  await using store = await newStore();
  const { env, file } = home("both");
  const login = ["skopeo", "login", "--tls-verify=false", `--authfile=${file}`, "-u", "me", "--password-stdin"];
  const theirs = await run([...login, guarded.host], { stdin: PASSWORD });
  expect([theirs.code, theirs.stderr]).toEqual([0, expect.anything()]);
  expect(await store.ok(["login", guarded.host], { env })).toBe("Login Succeeded");
  await store.ok(["logout", guarded.host], { env });
  await store.ok(["login", "-u", "me", "--password-stdin", guarded.host], { env, stdin: PASSWORD });
  const known = await run(["skopeo", "login", `--authfile=${file}`, "--get-login", guarded.host]);
  expect(known.stdout.trim()).toBe("me");
});

test("a password is asked for on the terminal, and not shown there", async () => {
  await using store = await newStore();
  const { env, file } = home("asked");
  let text = "";
  const child = Bun.spawn([...store.command, "login", guarded.host], {
    env: { ...process.env, ...env },
    terminal: {
      cols: 80,
      rows: 24,
      data(_, bytes) {
        text += new TextDecoder().decode(bytes);
      },
    },
  });
  await until("the question for a name", () => text.includes("Username: "));
  child.terminal?.write("me\n");
  await until("the question for a password", () => text.includes("Password: "));
  child.terminal?.write(`${PASSWORD}x\x7f\r`);
  expect(await child.exited).toBe(0);
  await until("the last output", () => text.includes("Login Succeeded"));
  child.terminal?.close();
  expect(text).not.toContain("s3cret");
  expect(existsSync(file)).toBe(true);
});

test("what was pulled keeps its digest when it is pushed: to another repository, and to another registry", async () => {
  await using store = await newStore();
  const { env } = home("copy");
  await store.ok(["login", "-u", "me", "--password-stdin", guarded.host], { env, stdin: PASSWORD });
  const source = `${open.host}/tools/app:1.0`;
  await store.ok(["pull", source]);
  const digest = await skopeoDigest(source);
  for (const target of [`${open.host}/copies/app:2`, `${guarded.host}/copies/app:2`]) {
    expect(pushedDigest(await store.ok(["push", source, target], { env }))).toBe(digest);
  }
  expect(await skopeoDigest(`${open.host}/copies/app:2`)).toBe(digest);
  // Within one registry nothing was sent: its layers were mounted.
  const again = await store.bb(["push", source, `${open.host}/copies/third:1`]);
  expect([again.code, again.stderr]).toEqual([0, expect.stringContaining("in another repository")]);
  expect(again.stderr).not.toContain("pushing");
});

test("what is pulled over what is here can be saved and pushed, and so can what was here", async () => {
  await using store = await newStore();
  const archive = join(directory, "pulled-over.tar");
  const good = async (name: string): Promise<void> => {
    const copy = `${open.host}/over/copy:1`;
    expect(pushedDigest(await store.ok(["push", name, copy]))).toBe(await skopeoDigest(copy));
    await store.ok(["save", "-o", archive, name]);
    await using elsewhere = await newStore();
    expect(await elsewhere.ok(["load", "-q", "-i", archive])).toContain(name);
    expect(await elsewhere.ok(["run", "--rm", ...none, name, "cat", "/from"])).toBe("init");
    rmSync(archive);
    for (const flags of [[], ["--quick"]]) {
      expect((await store.bb(["system", "check", "--format", "json", ...flags])).code).toBe(0);
    }
  };
  const root = join(directory, "over-root");
  expect((await run(["cp", "-a", await busyboxRoot(), root])).code).toBe(0);
  writeFileSync(join(root, "from"), "init");

  // Its files are here, as the layer that was made of the directory; its blob is the registry's.
  await store.ok(["init", root, "made:1"]);
  const [gz, zz] = ["gz", "zz"].map((tag) => `${open.host}/over/made:${tag}`) as [string, string];
  await store.ok(["push", "-q", "made:1", gz]);
  await store.ok(["push", "-q", "--compression", "zstd", "made:1", zz]);
  for (const name of [gz, zz]) {
    const digest = await skopeoDigest(name);
    expect(await store.ok(["pull", name])).toContain("Downloaded newer image");
    expect(pushedDigest(await store.ok(["push", name, `${open.host}/over/again:1`]))).toBe(digest);
    for (const each of ["made:1", name]) await good(each);
    expect(await store.ok(["pull", name])).toContain("up to date");
  }

  // A commit above it, pushed, removed and pulled.
  await store.ok(["init", root, "below:1"]);
  await store.ok(["run", "--name", "box", ...none, "below:1", "touch", "/more"]);
  const child = `${open.host}/over/child:1`;
  await store.ok(["commit", "box", child]);
  await store.ok(["rm", "box"]);
  await store.ok(["push", "-q", child]);
  await store.ok(["rmi", child]);
  await store.ok(["pull", "-q", child]);
  for (const each of ["below:1", child]) await good(each);
  await store.ok(["rmi", "below:1"]);
  await good(child);
}, 60_000);

test("skopeo copies what we push, layer by layer, and umoci unpacks it to the tree that it was made of", async () => {
  await using store = await newStore();
  const layout = join(directory, "layout");
  for (const compression of ["gzip", "zstd", "none"]) {
    const name = `${open.host}/made/${compression}:1`;
    await initBox(store, name);
    await store.ok(["push", "-q", "--compression", compression, name]);
    const copied = await run([
      "skopeo",
      "copy",
      "-q",
      "--src-tls-verify=false",
      `docker://${name}`,
      `oci:${layout}:${compression}`,
    ]);
    expect([compression, copied.code, copied.stderr]).toEqual([compression, 0, ""]);
  }
  const bundle = join(directory, "bundle");
  expect((await run(["umoci", "unpack", "--image", `${layout}:gzip`, bundle])).code).toBe(0);
  const difference = await run(["diff", "-r", "--no-dereference", await busyboxRoot(), join(bundle, "rootfs")]);
  expect(difference.stdout).toBe("");
});

test("a layer of many megabytes, sent while it is compressed, is one that gzip, skopeo and umoci read", async () => {
  await using store = await newStore();
  const root = join(directory, "large-root");
  mkdirSync(root);
  // As much as it takes for several blocks of text, and for noise that is more than what is sent in one piece.
  const made = await run(["sh", "-ec", "seq 900000 > text; dd if=/dev/urandom of=noise bs=1M count=7 status=none"], {
    cwd: root,
  });
  expect(made.code).toBe(0);
  const name = `${open.host}/made/large:1`;
  await store.ok(["init", root, name]);
  // TAR-08, the other way round: nothing of the directory that bb is called in takes part.
  const trap = join(directory, "trap");
  mkdirSync(trap);
  for (const file of ["gzip", "pigz", "bunfig.toml", "gzip-worker", "gzip-worker.ts"]) {
    writeFileSync(join(trap, file), `#!/bin/sh\ntouch ${trap}/sprung\n`, { mode: 0o755 });
  }
  const digest = pushedDigest(await store.ok(["push", name], { env: { PATH: trap }, cwd: trap }));
  expect(await skopeoDigest(name)).toBe(digest);
  expect(existsSync(join(trap, "sprung"))).toBe(false);
  const layout = join(directory, "large-layout");
  const copied = await run(["skopeo", "copy", "-q", "--src-tls-verify=false", `docker://${name}`, `oci:${layout}:1`]);
  expect([copied.code, copied.stderr]).toEqual([0, ""]);
  const bundle = join(directory, "large-bundle");
  expect((await run(["umoci", "unpack", "--image", `${layout}:1`, bundle])).code).toBe(0);
  expect(await run(["diff", "-r", root, join(bundle, "rootfs")])).toEqual({ code: 0, stdout: "", stderr: "" });
  const layers = `cd ${layout}/blobs/sha256 && for blob in *; do gzip -t < $blob 2>/dev/null && tar -tzf $blob; done`;
  expect((await run(["sh", "-c", layers])).stdout.split("\n").filter(Boolean)).toEqual(["./", "noise", "text"]);
});

test("zstd layers, plain layers and Docker's own formats from skopeo run", async () => {
  const from = `docker://${open.host}/tools/app:1.0`;
  for (const [tag, ...flags] of [
    ["zstd", "--dest-compress-format=zstd", "--format=oci"],
    ["plain", "--dest-decompress", "--format=oci"],
    ["docker", "--format=v2s2"],
  ] as const) {
    // skopeo decompresses on its way to a directory only.
    const layout = join(directory, `from-${tag}`);
    const isPlain = tag === "plain";
    const steps = isPlain
      ? [
          ["--dest-decompress", from, `dir:${layout}`],
          ["--format=oci", `dir:${layout}`, `docker://${open.host}/formats/app:${tag}`],
        ]
      : [[...flags, from, `docker://${open.host}/formats/app:${tag}`]];
    for (const step of steps) {
      const copied = await run(["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", ...step]);
      expect([tag, copied.code, copied.stderr]).toEqual([tag, 0, ""]);
    }
  }
  await using store = await newStore();
  for (const tag of ["zstd", "plain", "docker"]) {
    const name = `${open.host}/formats/app:${tag}`;
    expect([tag, await store.ok(["run", "--rm", "-q", ...none, name, "cat", "/etc/one"])]).toEqual([tag, "one"]);
  }
});

/** Puts an index of two platforms into a registry: this host's image, and one that says to be for arm64. */
async function putIndex(host: string): Promise<{ digest: string; ids: Map<string, string> }> {
  const manifests: object[] = [];
  const ids = new Map<string, string>();
  const get = async (path: string) =>
    await (await fetch(`http://${host}/v2/${path}`, { headers: { Accept: OCI } })).text();
  const put = async (path: string, type: string, body: string) => {
    const answer = await fetch(`http://${host}/v2/${path}`, { method: "PUT", headers: { "Content-Type": type }, body });
    expect(answer.status).toBe(201);
  };
  const digestOf = (text: string) => `sha256:${new Bun.CryptoHasher("sha256").update(text).digest("hex")}`;
  const original = JSON.parse(await get("tools/app/manifests/1.0")) as { config: { digest: string; size: number } };
  const config = JSON.parse(await get(`tools/app/blobs/${original.config.digest}`)) as object;
  for (const architecture of ["amd64", "arm64"]) {
    const text = JSON.stringify({ ...config, architecture });
    const started = await fetch(`http://${host}/v2/tools/app/blobs/uploads/`, { method: "POST" });
    const location = new URL(started.headers.get("location") ?? "", `http://${host}`);
    location.searchParams.set("digest", digestOf(text));
    expect((await fetch(location, { method: "PUT", body: text })).status).toBe(201);
    const manifest = JSON.stringify({
      ...original,
      mediaType: OCI,
      config: { ...original.config, digest: digestOf(text), size: text.length },
    });
    await put(`tools/app/manifests/${digestOf(manifest)}`, OCI, manifest);
    ids.set(architecture, digestOf(text));
    const platform = { os: "linux", architecture };
    manifests.push({ mediaType: OCI, digest: digestOf(manifest), size: manifest.length, platform });
  }
  const index = JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests });
  await put("tools/app/manifests/both", OCI_INDEX, index);
  return { digest: digestOf(index), ids };
}

const OCI = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";

test("an index gives each platform its image, and shows itself to `manifest inspect`", async () => {
  const { digest, ids } = await putIndex(open.host);
  await using store = await newStore();
  const name = `${open.host}/tools/app:both`;
  for (const architecture of ["arm64", "amd64"]) {
    expect(await store.ok(["pull", "--platform", `linux/${architecture}`, name])).toContain(`Digest: ${digest}`);
    expect(await store.ok(["inspect", "-f", "{{.Id}}", name])).toBe(ids.get(architecture) ?? "");
  }
  const refused = await store.bb(["pull", "--platform", "linux/s390x", name]);
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("linux/arm64")]);

  const absent = await store.bb(["manifest", "inspect", `${open.host}/tools/app:nosuch`]);
  expect([absent.code, absent.stderr]).toEqual([1, expect.stringContaining("bb: Cannot show ")]);
  const index = JSON.parse(await store.ok(["manifest", "inspect", name])) as { manifests: object[] };
  expect(index.manifests).toHaveLength(2);
  const all = JSON.parse(await store.ok(["manifest", "inspect", "-v", name])) as { Ref: string; Descriptor: object }[];
  expect(all.map(({ Descriptor }) => Descriptor)).toMatchObject([
    { platform: { architecture: "amd64" } },
    { platform: { architecture: "arm64" } },
  ]);
  // By the index's own digest: the same image.
  expect(await store.ok(["pull", `${open.host}/tools/app@${digest}`])).toContain(digest);
});

test("--all-tags pushes and pulls all of a repository", async () => {
  await using store = await newStore();
  const repository = `${open.host}/many/app`;
  for (const tag of ["a", "b", "c"]) await initBox(store, `${repository}:${tag}`);
  expect((await store.ok(["push", "-q", "-a", repository])).split("\n")).toEqual(
    ["a", "b", "c"].map((tag) => `${repository}:${tag}`),
  );
  await using other = await newStore();
  await other.ok(["pull", "-q", "-a", repository]);
  const tags = (await other.ok(["images", "--format", "{{.Tag}}"])).split("\n").sort();
  expect(tags).toEqual(["a", "b", "c"]);
});

test("search finds what the catalog of a registry has", async () => {
  await using store = await newStore();
  const rows = (await store.ok(["search", `${open.host}/tools`])).split("\n");
  expect(rows[0]).toMatch(/^NAME +DESCRIPTION +STARS +OFFICIAL$/);
  expect(rows.slice(1).map((row) => row.split(" ")[0])).toEqual([`${open.host}/tools/app`]);
  const json = await store.ok(["search", "--format", "json", "--limit", "1", `${open.host}/`]);
  expect(JSON.parse(json)).toMatchObject({ IsOfficial: false, StarCount: 0 });
});

/** A registry's certificate for 127.0.0.1, by an authority of our own. */
async function makeCertificates(): Promise<{ ca: string; cert: string; key: string }> {
  const path = (name: string) => join(directory, name);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  writeFileSync(path("extensions"), "subjectAltName=IP:127.0.0.1\n");
  for (const command of [
    [
      "req",
      "-x509",
      ...key,
      "-days",
      "2",
      "-subj",
      "/CN=Test authority",
      "-keyout",
      path("ca.key"),
      "-out",
      path("ca.crt"),
    ],
    ["req", ...key, "-subj", "/CN=registry", "-keyout", path("tls.key"), "-out", path("tls.csr")],
    [
      "x509",
      "-req",
      "-in",
      path("tls.csr"),
      "-CA",
      path("ca.crt"),
      "-CAkey",
      path("ca.key"),
      "-CAcreateserial",
      "-days",
      "2",
      "-extfile",
      path("extensions"),
      "-out",
      path("tls.crt"),
    ],
  ]) {
    const made = await run(["openssl", ...command]);
    if (made.code !== 0) throw new Error(made.stderr);
  }
  return { ca: path("ca.crt"), cert: path("tls.crt"), key: path("tls.key") };
}

test("REG-03: a certificate counts only if its authority is known: by --cert-dir or the settings, or is waived by name", async () => {
  const { ca, cert, key } = await makeCertificates();
  await using registry = await startRegistry({ tls: { cert, key } });
  await using store = await newStore();
  const name = `${registry.host}/secure/app:1`;
  await initBox(store, name);
  const certificates = join(directory, "certificates");
  mkdirSync(certificates);
  writeFileSync(join(certificates, "authority.crt"), readFileSync(ca));

  const env = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
  for (const flags of [["--tls-verify=true"], ["--tls-verify"]]) {
    const refused = await store.bb(["push", "-q", ...flags, name], { env });
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("certificate is not valid")]);
  }
  await store.ok(["push", "-q", "--cert-dir", certificates, name]);
  await store.ok(["push", "-q", "--tls-verify=false", name]);
  const settings = join(directory, "registries.json");
  writeFileSync(settings, JSON.stringify({ registries: { [registry.host]: { ca } } }));
  await store.ok(["push", "-q", name], { env: { BANTUBOX_REGISTRIES: settings } });
  await using other = await newStore();
  await other.ok(["pull", "-q", name], { env: { BANTUBOX_REGISTRIES: settings } });
  const without = await store.bb(["pull", "-q", "--cert-dir", join(directory, "absent"), name]);
  expect([without.code, without.stderr]).toEqual([1, expect.stringContaining("absent")]);
});

test("a mirror of Docker Hub gives what short names mean, and settings that are wrong are said", async () => {
  await pushImage(open, "hub/library/tiny:3", { config: ["--config.cmd=/bin/true"] });
  await using store = await newStore();
  const settings = join(directory, "mirrors.json");
  const env = { BANTUBOX_REGISTRIES: settings };
  writeFileSync(settings, JSON.stringify({ registries: { "docker.io": { mirrors: [`http://${open.host}/hub`] } } }));
  expect(await store.ok(["pull", "tiny:3"], { env })).toContain("docker.io/library/tiny:3");
  expect(await store.ok(["run", "--rm", ...none, "tiny:3", "echo", "here"])).toBe("here");
  writeFileSync(settings, JSON.stringify({ registries: { "docker.io": { blocked: true } } }));
  expect((await store.bb(["pull", "tiny:4"], { env })).stderr).toContain("blocks it");
  writeFileSync(settings, '{"registries": {"docker.io": {"mirror": []}}}');
  const wrong = await store.bb(["pull", "tiny:4"], { env });
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringMatching(/unknown name, "mirror"/)]);
});

test("HTTP_PROXY is used for what is not on loopback", async () => {
  const asked: string[] = [];
  await using proxy = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const { host, pathname, search } = new URL(request.url);
      asked.push(host);
      return fetch(`http://${open.host}${pathname}${search}`, {
        method: request.method,
        headers: { Accept: `${OCI}` },
      });
    },
  });
  await using store = await newStore();
  const settings = join(directory, "proxied.json");
  writeFileSync(settings, JSON.stringify({ registries: { "registry.invalid:5000": { insecure: true } } }));
  const env = {
    BANTUBOX_REGISTRIES: settings,
    HTTP_PROXY: `http://127.0.0.1:${proxy.port}`,
    HTTPS_PROXY: "http://127.0.0.1:1",
    NO_PROXY: "elsewhere.invalid",
  };
  await store.ok(["pull", "-q", "registry.invalid:5000/tools/app:1.0"], { env });
  expect(new Set(asked)).toEqual(new Set(["registry.invalid:5000"]));
});
