/** What registries, mirrors and token services may do to us: REG-01 to REG-07, each with what must still work. */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { parseReference } from "../document/reference.ts";
import { contents, temporaryStore } from "../store/store-fixture.ts";
import { pullImage } from "../transfer/pull.ts";
import { pullAllTags } from "../transfer/pull-tags.ts";
import type { Credentials } from "./auth.ts";
import { login } from "./login.ts";
import { parseRegistries, type Registries } from "./registries.ts";
import { openRepository, type RegistryOptions } from "./registry.ts";
import { makeLayer, publish, putManifest, serveBlob, startRegistry } from "./registry-fixture.ts";
import { searchImages } from "./search.ts";

const registry = startRegistry();
const mirror = startRegistry();
const tokens = startRegistry();
const all = [registry, mirror, tokens];
afterAll(async () => {
  for (const each of all) await each[Symbol.asyncDispose]();
});
beforeEach(() => {
  for (const each of all) {
    each.mischief = undefined;
    each.requests.length = 0;
    each.blobs.clear();
    each.manifests.clear();
  }
});

const layer = makeLayer([{ path: "a", content: "a" }]);
const me: Credentials = { username: "me", password: "secret" };

function settings(document: object): Registries {
  return parseRegistries(new TextEncoder().encode(JSON.stringify({ registries: document })), "test");
}

const quick: RegistryOptions = {
  retryMs: 1,
  // The registry is in this very process: whatever keeps it busy must not look like a registry that stalls.
  stallMs: 10_000,
  connectMs: 10_000,
  credentials: () => undefined,
  registries: new Map(),
};

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => "it went well",
    (error: unknown) => error,
  );
}

function wantsToken(parameters = ""): Response {
  const challenge = `Bearer realm="http://${tokens.domain}/token",service="reg"${parameters}`;
  return new Response("", { status: 401, headers: { "WWW-Authenticate": challenge } });
}

describe("mirrors", () => {
  const mirrored = () => ({
    ...quick,
    registries: settings({ [registry.domain]: { mirrors: [`http://${mirror.domain}/cache/of`] } }),
  });

  test("what a mirror has comes from it, below its prefix", async () => {
    using store = temporaryStore();
    publish(registry, "t/x:v1", [layer]);
    publish(mirror, "cache/of/t/x:v1", [layer]);
    const { name } = await pullImage(store, `${registry.domain}/t/x:v1`, mirrored());
    expect(name).toBe(`${registry.domain}/t/x:v1`);
    expect(registry.requests).toEqual([]);
    expect(mirror.requests.every((request) => request.includes("/v2/cache/of/t/x/"))).toBe(true);
  });

  test.each<[string, () => void]>([
    ["lacks the image", () => {}],
    ["fails", () => Object.assign(mirror, { mischief: () => new Response("", { status: 500 }) })],
    ["wants a password", () => Object.assign(mirror, { mischief: () => new Response("", { status: 401 }) })],
    [
      "has the manifest and not the layer",
      () => {
        publish(mirror, "cache/of/t/x:v1", [layer]);
        mirror.blobs.clear();
      },
    ],
  ])("a mirror that %s is passed over", async (_, arrange) => {
    using store = temporaryStore();
    publish(registry, "t/x:v1", [layer]);
    arrange();
    const { status } = await pullImage(store, `${registry.domain}/t/x:v1`, mirrored());
    expect(status).toBe("downloaded");
    expect(contents(store)).toMatchObject({ images: 1, ingest: [] });
  });

  test("a mirror that has something else under a digest is passed over", async () => {
    using store = temporaryStore();
    const image = publish(registry, "t/x:v1", [layer]);
    const lie = publish(mirror, "cache/of/t/x:v1", [makeLayer([{ path: "evil" }])]);
    const bytes = mirror.manifests.get(lie.manifest);
    if (bytes !== undefined) mirror.manifests.set(image.manifest, bytes);
    const { digest } = await pullImage(store, `${registry.domain}/t/x@${image.manifest}`, mirrored());
    expect(digest).toBe(image.manifest);
    expect(mirror.requests).toHaveLength(1);
  });

  test("a mirror that breaks off in the middle of a layer is passed over in the end", async () => {
    using store = temporaryStore();
    const image = publish(registry, "t/x:v1", [layer]);
    publish(mirror, "cache/of/t/x:v1", [layer]);
    const blob = registry.blobs.get(image.layers[0] ?? "") ?? new Uint8Array();
    mirror.mischief = (_, path) =>
      path.endsWith(image.layers[0] ?? "-") ? mirror.cut(blob.subarray(0, 20), blob.length) : undefined;
    expect((await pullImage(store, `${registry.domain}/t/x:v1`, mirrored())).status).toBe("downloaded");
  });

  test("REG-01: a mirror gets credentials of its own, never those of the registry", async () => {
    using store = temporaryStore();
    publish(mirror, "cache/of/t/x:v1", [layer]);
    const asked: string[] = [];
    const seen = new Set<string | null>();
    mirror.mischief = (request) => {
      const authorization = request.headers.get("authorization");
      seen.add(authorization);
      if (authorization === `Basic ${btoa("mirror:own")}`) return undefined;
      return new Response("", { status: 401, headers: { "WWW-Authenticate": 'Basic realm="m"' } });
    };
    const credentials = (domain: string) => {
      asked.push(domain);
      return domain === mirror.domain ? { username: "mirror", password: "own" } : me;
    };
    await pullImage(store, `${registry.domain}/t/x:v1`, { ...mirrored(), credentials });
    expect(new Set(asked)).toEqual(new Set([mirror.domain]));
    expect(seen).toEqual(new Set([null, `Basic ${btoa("mirror:own")}`]));
  });
});

describe("settings", () => {
  test("a registry that is blocked is not spoken to", async () => {
    const options = { ...quick, registries: settings({ [registry.domain]: { blocked: true } }) };
    const opened = () => openRepository(parseReference(`${registry.domain}/t/x`), options);
    expect(opened).toThrow(expect.objectContaining({ code: "registry-blocked" }));
    expect(registry.requests).toEqual([]);
  });

  test("REG-03: on loopback, --tls-verify=true means https, and =false tries it first", async () => {
    publish(registry, "t/x:v1", [layer]);
    const reference = parseReference(`${registry.domain}/t/x`);
    const strict = openRepository(reference, { ...quick, tries: 1, verifyTls: true });
    expect(await failure(strict.manifest("v1"))).toMatchObject({ code: "registry-unreachable" });
    expect(registry.requests).toEqual([]);
    const lax = openRepository(reference, { ...quick, verifyTls: false });
    expect((await lax.manifest("v1")).bytes.length).toBeGreaterThan(0);
  });
});

test.each(["[:::1]:5/x", "a.b:99999/x", "256.1.1.1/x", "1.2.3.4.5/x"])(
  "%s is a name and no address, and that is said",
  async (name) => {
    const asked = failure(openRepository(parseReference(name), quick).manifest("v1"));
    expect(await asked).toMatchObject({ code: "registry-name-invalid" });
  },
);

describe("tokens", () => {
  test("REG-02: a password goes to a token service on another host only where tokenHosts lists it", async () => {
    const seen: (string | null)[] = [];
    tokens.mischief = (request) => {
      seen.push(request.headers.get("authorization"));
      return Response.json({ token: "good" });
    };
    registry.mischief = (request) =>
      request.headers.get("authorization") === "Bearer good" ? undefined : wantsToken();
    publish(registry, "t/x:v1", [layer]);
    const reference = parseReference(`${registry.domain}/t/x`);
    await openRepository(reference, { ...quick, credentials: () => me }).manifest("v1");
    const listed = settings({ [registry.domain]: { tokenHosts: [tokens.domain] } });
    await openRepository(reference, { ...quick, credentials: () => me, registries: listed }).manifest("v1");
    expect(seen).toEqual([null, `Basic ${btoa("me:secret")}`]);
  });

  test("REG-02: an identity token is exchanged where it may be, and nowhere else", async () => {
    const seen: [string, string | null, string][] = [];
    tokens.mischief = async (request) => {
      seen.push([request.method, request.headers.get("authorization"), await request.text()]);
      return Response.json({ access_token: "good" });
    };
    registry.mischief = (request) =>
      request.headers.get("authorization") === "Bearer good" ? undefined : wantsToken();
    publish(registry, "t/x:v1", [layer]);
    const reference = parseReference(`${registry.domain}/t/x`);
    const credentials = () => ({ identityToken: "refresh me" });
    await openRepository(reference, { ...quick, credentials }).manifest("v1");
    const registries = settings({ [registry.domain]: { tokenHosts: [tokens.domain] } });
    await openRepository(reference, { ...quick, credentials, registries }).manifest("v1");
    expect(seen[0]).toEqual(["GET", null, ""]);
    expect(seen[1]?.slice(0, 2)).toEqual(["POST", null]);
    expect(Object.fromEntries(new URLSearchParams(seen[1]?.[2]))).toEqual({
      grant_type: "refresh_token",
      refresh_token: "refresh me",
      client_id: "bantubox",
      service: "reg",
      scope: "repository:t/x:pull",
    });
  });

  test("REG-02: an identity token is not sent along with a redirect", async () => {
    const seen: string[] = [];
    mirror.mischief = async (request) => {
      seen.push(await request.text());
      return Response.json({ access_token: "good" });
    };
    tokens.mischief = () => new Response(null, { status: 307, headers: { Location: `http://${mirror.domain}/` } });
    registry.mischief = () => wantsToken();
    const registries = settings({ [registry.domain]: { tokenHosts: [tokens.domain] } });
    const credentials = () => ({ identityToken: "refresh me" });
    const opened = openRepository(parseReference(`${registry.domain}/t/x`), { ...quick, credentials, registries });
    expect(await failure(opened.manifest("v1"))).toMatchObject({ code: "registry-redirect" });
    expect(seen).toEqual([]);
  });

  test("many requests that are refused at once ask for one token", async () => {
    tokens.mischief = () => Response.json({ token: "good" });
    registry.mischief = (request) =>
      request.headers.get("authorization") === "Bearer good" ? undefined : wantsToken();
    publish(registry, "t/x:v1", [layer]);
    const repository = openRepository(parseReference(`${registry.domain}/t/x`), quick);
    await Promise.all(Array.from({ length: 6 }, () => repository.manifest("v1")));
    expect(tokens.requests).toHaveLength(1);
  });

  test("REG-06: no error repeats a password or a token", async () => {
    registry.mischief = () => wantsToken();
    const registries = settings({ [registry.domain]: { tokenHosts: [tokens.domain] } });
    for (const answer of [
      () => new Response("secret", { status: 401 }),
      () => Response.json({ token: "secret\n" }),
      () => Response.json({ token: "secret" }),
    ]) {
      tokens.mischief = answer;
      const repository = openRepository(parseReference(`${registry.domain}/t/x`), {
        ...quick,
        registries,
        credentials: () => me,
      });
      const error = await failure(repository.manifest("v1"));
      expect(error).toMatchObject({ code: "registry-unauthorized" });
      expect(Bun.inspect(error)).not.toContain("secret");
      expect(Bun.inspect(error)).not.toContain(btoa("me:secret"));
    }
  });

  test("login() is refused when the registry never saw the password", async () => {
    tokens.mischief = () => Response.json({ token: "anonymous" });
    registry.mischief = (request) =>
      request.headers.get("authorization") === "Bearer anonymous" ? new Response("{}") : wantsToken();
    expect(await failure(login(registry.domain, me, quick))).toMatchObject({
      code: "registry-unauthorized",
      hint: expect.stringContaining("tokenHosts"),
    });
  });
});

describe("lists", () => {
  test("tags come page by page, from this registry whatever host the next page names", async () => {
    const pages: Record<string, [string[], string | undefined]> = {
      "": [["a", "b"], "/v2/t/x/tags/list?last=b"],
      "?last=b": [["c"], `http://${mirror.domain}/v2/t/x/tags/list?last=c`],
      "?last=c": [["d"], undefined],
    };
    registry.mischief = (request) => {
      const { search } = new URL(request.url);
      const [tags, next] = pages[search === "?n=1000" ? "" : search] ?? [[], undefined];
      return Response.json({ tags }, next === undefined ? {} : { headers: { Link: `<${next}>; rel="next"` } });
    };
    const repository = openRepository(parseReference(`${registry.domain}/t/x`), quick);
    expect(await repository.tags()).toEqual(["a", "b", "c", "d"]);
    expect(mirror.requests).toEqual([]);
  });

  test.each<[string, () => Response]>([
    ["leads to itself", () => Response.json({ tags: [] }, { headers: { Link: '<?n=1000>; rel="next"' } })],
    ["never ends", () => Response.json({ tags: ["x"] }, { headers: { Link: `<?n=${Math.random()}>; rel="next"` } })],
    ["is no list", () => Response.json({ tags: "abc" })],
    ["holds what is no text", () => Response.json({ tags: [1] })],
    ["is no JSON", () => new Response("<html>")],
    ["is too large", () => Response.json({ tags: ["x".repeat(5 << 20)] })],
  ])("a list of tags that %s is an error", async (_, answer) => {
    registry.mischief = answer;
    const repository = openRepository(parseReference(`${registry.domain}/t/x`), quick);
    expect(await failure(repository.tags())).toMatchObject({
      code: expect.stringMatching(/^registry-answer-(?:invalid|too-large)$/),
    });
    expect(registry.requests.length).toBeLessThanOrEqual(1000);
  });

  test("pullAllTags() brings every image, passes over what is none, and says so", async () => {
    using store = temporaryStore();
    publish(registry, "t/many:1", [layer]);
    publish(registry, "t/many:2", [layer, makeLayer([{ path: "b" }])]);
    publish(registry, "t/many:arm", [layer], { platform: { os: "linux", architecture: "s390x" } });
    const chart = {
      schemaVersion: 2,
      config: { mediaType: "application/vnd.cncf.helm.config.v1+json", digest: `sha256:${"0".repeat(64)}`, size: 2 },
      layers: [],
    };
    putManifest(
      registry,
      "t/many:chart",
      "application/vnd.oci.image.manifest.v1+json",
      Buffer.from(JSON.stringify(chart)),
    );
    const { pulled, skipped } = await pullAllTags(store, `${registry.domain}/t/many`, quick);
    expect(pulled.map(({ name }) => name.split(":").at(-1))).toEqual(["1", "2"]);
    expect(skipped.map(({ name, reason }) => [name.split(":").at(-1), reason.code])).toEqual([
      ["arm", "platform-missing"],
      ["chart", "manifest-invalid"],
    ]);
    expect(await failure(pullAllTags(store, `${registry.domain}/t/many:1`, quick))).toMatchObject({
      code: "reference-invalid",
    });
  });
});

describe("searchImages()", () => {
  test("asks the search where there is one", async () => {
    registry.mischief = (request, path) =>
      path === "/v1/search" && new URL(request.url).search === "?q=ap&n=2"
        ? Response.json({ results: [{ name: "app", star_count: 3, is_official: true }, { name: "b" }, { name: "c" }] })
        : undefined;
    expect(await searchImages(`${registry.domain}/ap`, { ...quick, limit: 2 })).toEqual([
      { name: `${registry.domain}/app`, description: "", stars: 3, isOfficial: true },
      { name: `${registry.domain}/b`, description: "", stars: 0, isOfficial: false },
    ]);
  });

  test("looks through the catalog where there is none", async () => {
    registry.mischief = (_, path) =>
      path === "/v2/_catalog" ? Response.json({ repositories: ["team/app", "tool", "apple"] }) : undefined;
    const found = await searchImages(`${registry.domain}/app`, quick);
    expect(found.map(({ name }) => name)).toEqual(["team/app", "apple"].map((name) => `${registry.domain}/${name}`));
  });

  test("says so where there is neither, and refuses limits that make no sense", async () => {
    registry.mischief = () => new Response("", { status: 404 });
    expect(await failure(searchImages(`${registry.domain}/app`, quick))).toMatchObject({ code: "search-unsupported" });
    for (const limit of [0, 101, 1.5]) {
      expect(await failure(searchImages("x", { ...quick, limit }))).toMatchObject({ code: "search-invalid" });
    }
    expect(await failure(searchImages("", quick))).toMatchObject({ code: "search-invalid" });
  });
});

describe("bodies", () => {
  const blobOf = (image: ReturnType<typeof publish>) => registry.blobs.get(image.layers[0] ?? "") ?? new Uint8Array();
  const onLayer = (image: ReturnType<typeof publish>, answer: (request: Request, count: number) => Response) => {
    registry.mischief = (request, path, count) =>
      path.endsWith(image.layers[0] ?? "-") ? answer(request, count) : undefined;
  };
  const noise = makeLayer([{ path: "noise", content: randomBytes(200_000) }]);

  test("REG-04: where a descriptor says that its blob also lies elsewhere, nobody asks there", async () => {
    using store = temporaryStore();
    publish(registry, "t/x:v1", [layer]);
    const { bytes = new Uint8Array() } = registry.manifests.get("t/x:v1") ?? {};
    const document = JSON.parse(new TextDecoder().decode(bytes)) as { mediaType: string; layers: object[] };
    const layers = document.layers.map((each) => ({ ...each, urls: [`http://${mirror.domain}/blob`] }));
    putManifest(registry, "t/x:v1", document.mediaType, Buffer.from(JSON.stringify({ ...document, layers })));
    expect((await pullImage(store, `${registry.domain}/t/x:v1`, quick)).status).toBe("downloaded");
    registry.blobs.clear();
    using other = temporaryStore();
    const error = await failure(pullImage(other, `${registry.domain}/t/x:v1`, quick));
    expect(error).toMatchObject({ code: "registry-image-missing" });
    expect(mirror.requests).toEqual([]);
  });

  test("REG-05: a body that ends with its connection is only believed as far as its size and digest go", async () => {
    using store = temporaryStore();
    const image = publish(registry, "t/x:v1", [noise]);
    const blob = blobOf(image);
    // Neither a length nor chunks: HTTP itself cannot tell that it is short.
    onLayer(image, (request, count) =>
      count === 1
        ? registry.raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", blob.subarray(0, 100_000))
        : serveBlob(request, blob),
    );
    expect((await pullImage(store, `${registry.domain}/t/x:v1`, quick)).status).toBe("downloaded");
    expect(registry.requests.filter((request) => request.endsWith(image.layers[0] ?? "-"))).toHaveLength(2);
  });

  test("REG-05: a body that is whole and ends with its connection is fine", async () => {
    using store = temporaryStore();
    const image = publish(registry, "t/x:v1", [noise]);
    onLayer(image, () => registry.raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", blobOf(image)));
    expect((await pullImage(store, `${registry.domain}/t/x:v1`, quick)).status).toBe("downloaded");
  });

  test("REG-05: what Content-Encoding says changes no byte of a blob", async () => {
    using store = temporaryStore();
    const image = publish(registry, "t/x:v1", [layer]);
    onLayer(image, () => new Response(Buffer.from(blobOf(image)), { headers: { "Content-Encoding": "gzip" } }));
    expect((await pullImage(store, `${registry.domain}/t/x:v1`, quick)).status).toBe("downloaded");
  });

  test.each<[string, (path: string) => boolean]>([
    ["manifest", (path) => path.includes("/manifests/")],
    ["config", (path) => path.endsWith(config)],
    ["layer", (path) => path.includes("/blobs/") && !path.endsWith(config)],
  ])("REG-05: a %s without an end is given up soon", async (_, isIt) => {
    using store = temporaryStore();
    config = publish(registry, "t/x:v1", [layer]).config;
    let sent = 0;
    registry.mischief = (request, path) =>
      request.method === "GET" && isIt(path)
        ? new Response(
            new ReadableStream({
              pull(controller) {
                sent += 65536;
                controller.enqueue(new Uint8Array(65536));
              },
            }),
          )
        : undefined;
    const error = await failure(pullImage(store, `${registry.domain}/t/x:v1`, quick));
    expect(error).toMatchObject({ code: expect.stringMatching(/^(?:registry-answer-too-large|blob-corrupt|layer-)/) });
    expect(sent).toBeLessThan(64 << 20);
    expect(contents(store)).toMatchObject({ images: 0, layers: [], rows: 0 });
  });
  let config = "";

  test.each<[string, (request: Request, blob: Uint8Array) => Response, boolean]>([
    ["all of it, with 200", (_, blob) => new Response(Buffer.from(blob)), true],
    ["just the rest, with 206", serveBlob, true],
    ["another part, with 206", (_, blob) => part(blob, 5), false],
    ["a part of no range, with 206", (_, blob) => new Response(Buffer.from(blob), { status: 206 }), false],
    ["that there is no such part, with 416", () => new Response("", { status: 416 }), false],
    ["that it is gone, with 404", () => new Response("", { status: 404 }), false],
  ])("REG-07: asked for the rest of a blob, a registry answers %s", async (_, answer, isFine) => {
    using store = temporaryStore();
    const image = publish(registry, "t/x:v1", [noise]);
    const blob = blobOf(image);
    onLayer(image, (request, count) =>
      count === 1 ? registry.cut(blob.subarray(0, 100_000), blob.length) : answer(request, blob),
    );
    const result = await pullImage(store, `${registry.domain}/t/x:v1`, quick).catch((error: unknown) => error);
    if (isFine) expect(result).toMatchObject({ status: "downloaded" });
    else {
      expect(result).toMatchObject({
        code: expect.stringMatching(/^(?:blob-corrupt|blob-range|registry-image-missing)$/),
      });
      expect(contents(store)).toMatchObject({ images: 0, layers: [] });
    }
    // Whatever it was: a registry that behaves again gives the image.
    registry.mischief = undefined;
    expect((await pullImage(store, `${registry.domain}/t/x:v1`, quick)).digest).toBe(image.manifest);
  });

  function part(blob: Uint8Array, from: number): Response {
    return new Response(Buffer.from(blob.subarray(from)), {
      status: 206,
      headers: { "Content-Range": `bytes ${from}-${blob.length - 1}/${blob.length}` },
    });
  }
});
