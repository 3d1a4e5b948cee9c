import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { BoxError } from "@bantubox/ffi";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { encode } from "../registry/registry-fixture.ts";
import { type Index, parseConfig, parseManifest, selectPlatform } from "./manifest.ts";
import { formatPlatform, parsePlatform, platformDistance } from "./platform.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const digest = `sha256:${"a".repeat(64)}`;
const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest, size: 2 };
const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest, size: 3 };
const manifest = { schemaVersion: 2, mediaType: MANIFEST, config, layers: [layer] };
const imageConfig = { os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: [digest] } };

test.each<[string, object, string]>([
  ["an OCI manifest", manifest, MANIFEST],
  ["one that does not say what it is", { ...manifest, mediaType: undefined }, ""],
  [
    "one of Docker's",
    {
      schemaVersion: 2,
      mediaType: "application/vnd.docker.distribution.manifest.v2+json",
      config: { ...config, mediaType: "application/vnd.docker.container.image.v1+json" },
      layers: [{ ...layer, mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip" }],
    },
    "application/vnd.docker.distribution.manifest.v2+json",
  ],
  ["one with names that nobody knows", { ...manifest, annotations: { a: "b" }, subject: config }, "application/json"],
])("parseManifest() takes %s", (_, document, type) => {
  expect(parseManifest(encode(document), type)).toMatchObject({ kind: "manifest", layers: [{ digest, size: 3 }] });
});

test.each<[string, unknown, string]>([
  ["a manifest that is an index, too", { ...manifest, manifests: [] }, MANIFEST],
  ["an index that calls itself a manifest", { schemaVersion: 2, mediaType: MANIFEST, manifests: [] }, ""],
  ["a manifest that was sent as an index", { ...manifest, mediaType: undefined }, INDEX],
  ["a type that contradicts the header", manifest, "application/vnd.docker.distribution.manifest.v2+json"],
  ["names in other capitals", { ...manifest, Layers: [] }, MANIFEST],
  ["schema 1", { schemaVersion: 1, fsLayers: [] }, "application/vnd.docker.distribution.manifest.v1+json"],
  [
    "an artifact",
    { ...manifest, config: { ...config, mediaType: "application/vnd.cncf.helm.config.v1+json" } },
    MANIFEST,
  ],
  ["a layer that is none", { ...manifest, layers: [{ ...layer, mediaType: "text/plain" }] }, MANIFEST],
  ["a negative size", { ...manifest, layers: [{ ...layer, size: -1 }] }, MANIFEST],
  ["half a byte", { ...manifest, layers: [{ ...layer, size: 0.5 }] }, MANIFEST],
  ["a size beyond 2^53", { ...manifest, layers: [{ ...layer, size: 2 ** 53 }] }, MANIFEST],
  ["a size in quotes", { ...manifest, layers: [{ ...layer, size: "3" }] }, MANIFEST],
  ["a digest that is a path", { ...manifest, layers: [{ ...layer, digest: "sha256:../../x" }] }, MANIFEST],
  ["a digest in capitals", { ...manifest, layers: [{ ...layer, digest: digest.toUpperCase() }] }, MANIFEST],
  ["501 layers", { ...manifest, layers: Array.from({ length: 501 }, () => layer) }, MANIFEST],
  ["layers that are no list", { ...manifest, layers: {} }, MANIFEST],
  ["no layers", { schemaVersion: 2, config }, MANIFEST],
  ["a list", [manifest], MANIFEST],
  ["null", null, MANIFEST],
  ["text", "x", MANIFEST],
])("parseManifest() refuses %s", (_, document, type) => {
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  expect(() => parseManifest(bytes, type)).toThrow(expect.objectContaining({ code: "manifest-invalid" }));
});

test("parseConfig() lets an image say how its containers run inside, and nothing else", () => {
  const document = {
    ...imageConfig,
    created: "2026-01-01T00:00:00Z",
    history: [{ empty_layer: true }, {}],
    config: {
      Env: ["PATH=/bin"],
      Cmd: null,
      Entrypoint: ["/x"],
      User: "1000:1000",
      WorkingDir: "/srv",
      ExposedPorts: { "80/tcp": {} },
      Volumes: { "/data": {} },
      Labels: JSON.parse('{"__proto__":"p","constructor":"c","io.bantubox.restart":"always"}'),
      StopSignal: "SIGINT",
      Healthcheck: { Test: ["CMD", "true"], Interval: 5 },
      HostConfig: { Privileged: true },
      Memory: 5,
    },
  };
  expect(parseConfig(encode(document), 1)).toEqual({
    platform: { os: "linux", architecture: "amd64", variant: undefined },
    created: "2026-01-01T00:00:00Z",
    diffIds: [digest] as never,
    config: {
      env: ["PATH=/bin"],
      cmd: [],
      entrypoint: ["/x"],
      user: "1000:1000",
      workdir: "/srv",
      exposedPorts: ["80/tcp"],
      volumes: ["/data"],
      labels: [
        ["__proto__", "p"],
        ["constructor", "c"],
      ],
      stopSignal: "SIGINT",
      shell: [],
      onBuild: [],
      healthcheck: {
        test: ["CMD", "true"],
        intervalNs: 5,
        timeoutNs: 0,
        startPeriodNs: 0,
        startIntervalNs: 0,
        retries: 0,
      },
    },
  });
  expect(Object.getPrototypeOf(parseConfig(encode(imageConfig), 1).config)).toBe(Object.prototype);
});

test.each<[string, object, number]>([
  ["fewer layers than the manifest", imageConfig, 2],
  ["more layers than the manifest", imageConfig, 0],
  ["a history of more layers", { ...imageConfig, history: [{}, {}] }, 1],
  ["no rootfs", { os: "linux", architecture: "amd64" }, 0],
  ["another rootfs", { ...imageConfig, rootfs: { type: "disk", diff_ids: [digest] } }, 1],
  ["NUL in the environment", { ...imageConfig, config: { Env: ["A=\0"] } }, 1],
  ["NUL in a label", { ...imageConfig, config: { Labels: { a: "\0" } } }, 1],
  ["NUL in a volume", { ...imageConfig, config: { Volumes: { "/a\0": {} } } }, 1],
  ["a command that is text", { ...imageConfig, config: { Cmd: "sh -c x" } }, 1],
  ["a user that is a number", { ...imageConfig, config: { User: 0 } }, 1],
  ["labels that are a list", { ...imageConfig, config: { Labels: ["a"] } }, 1],
  ["a health check that never ends", { ...imageConfig, config: { Healthcheck: { Interval: 1e300 } } }, 1],
])("parseConfig() refuses %s", (_, document, layers) => {
  expect(() => parseConfig(encode(document), layers)).toThrow(expect.objectContaining({ code: "config-invalid" }));
});

test("whatever JSON comes, it is a value of the schema or a BoxError", () => {
  const leaf = fc.oneof(fc.constantFrom(MANIFEST, INDEX, digest, 2, -1, null, "layers", {}, []), fc.jsonValue());
  const keys = ["schemaVersion", "mediaType", "config", "layers", "manifests", "rootfs", "os", "__proto__", "history"];
  const mutated = fc.dictionary(fc.constantFrom(...keys), leaf);
  fc.assert(
    fc.property(mutated, fc.constantFrom(manifest, imageConfig, {}), (change, start) => {
      const bytes = encode({ ...start, ...change });
      for (const parse of [() => parseManifest(bytes, ""), () => parseConfig(bytes, 1)]) {
        try {
          parse();
        } catch (error) {
          expect(error).toBeInstanceOf(BoxError);
        }
      }
    }),
    runs(500),
  );
  expect(() => parseManifest(new Uint8Array([0xff, 0xfe]), "")).toThrow(BoxError);
});

/** Changes one place of a JSON value, anywhere in it, to what no schema wants; or says a name twice, or in other letters. */
const mutation = fc.record({
  /** Which place: steps down by index among names or items. */
  path: fc.array(fc.nat(8), { minLength: 1, maxLength: 5 }),
  how: fc.constantFrom("replace", "remove", "capitals", "twice", "proto"),
  value: fc.oneof(
    fc.constantFrom<unknown>(
      null,
      -1,
      0.5,
      1e300,
      2 ** 53,
      "",
      "\0",
      [],
      {},
      true,
      "sha256:../../x",
      digest,
      MANIFEST,
      INDEX,
    ),
    fc.jsonValue(),
  ),
});

/** JSON text: a name that stands twice is no value. */
function mutate(document: unknown, path: readonly number[], { how, value }: { how: string; value: unknown }): string {
  if (typeof document !== "object" || document === null || path.length === 0) return JSON.stringify(value) ?? "null";
  const [step = 0, ...rest] = path;
  const entries = Object.entries(document);
  const chosen = entries[step % Math.max(entries.length, 1)];
  const parts = entries.flatMap(([key, item]): string[] => {
    const text = (name: string, json: string) => (Array.isArray(document) ? json : `${JSON.stringify(name)}:${json}`);
    if (key !== chosen?.[0]) return [text(key, JSON.stringify(item) ?? "null")];
    if (rest.length > 0) return [text(key, mutate(item, rest, { how, value }))];
    const json = JSON.stringify(item) ?? "null";
    const other = JSON.stringify(value) ?? "null";
    switch (how) {
      case "remove":
        return [];
      case "capitals":
        return [text(key.toUpperCase(), json)];
      case "twice":
        return [text(key, other), text(key, json)];
      case "proto":
        return [text(key, json), text("__proto__", other)];
      default:
        return [text(key, other)];
    }
  });
  return Array.isArray(document) ? `[${parts.join(",")}]` : `{${parts.join(",")}}`;
}

const index = {
  schemaVersion: 2,
  mediaType: INDEX,
  manifests: [{ mediaType: MANIFEST, digest, size: 5, platform: { os: "linux", architecture: "arm", variant: "v7" } }],
};
const fullConfig = {
  ...imageConfig,
  history: [{ empty_layer: true, created_by: "x" }, {}],
  config: {
    Env: ["A=1"],
    Labels: { a: "b" },
    ExposedPorts: { "80/tcp": {} },
    Healthcheck: { Test: ["NONE"], Retries: 1 },
  },
};

function isDescriptor(value: { mediaType: unknown; digest: string; size: number }): boolean {
  return (
    typeof value.mediaType === "string" &&
    /^sha256:[a-f0-9]{64}$/.test(value.digest) &&
    Number.isSafeInteger(value.size) &&
    value.size >= 0
  );
}

/** Whether what was read is of the types that the rest of the program trusts. */
function isSound(document: ReturnType<typeof parseManifest>): boolean {
  if (document.kind === "index") return document.manifests.every(isDescriptor);
  return isDescriptor(document.config) && document.layers.every(isDescriptor) && document.layers.length <= 500;
}

function isText(values: readonly unknown[]): boolean {
  return values.every((value) => typeof value === "string" && !value.includes("\0"));
}

test("FZ-07: of a manifest, an index or a config with one wrong place comes what the schema says, or a BoxError", () => {
  let accepted = 0;
  fc.assert(
    fc.property(fc.constantFrom<object>(manifest, index, fullConfig), mutation, (start, { path, ...change }) => {
      const bytes = new TextEncoder().encode(mutate(start, path, change));
      try {
        if (start === fullConfig) {
          const { diffIds, config: run, platform } = parseConfig(bytes, 1);
          expect(diffIds.every((diffId) => /^sha256:[a-f0-9]{64}$/.test(diffId)) && diffIds.length === 1).toBe(true);
          const { env, cmd, entrypoint, shell, onBuild, exposedPorts, volumes, labels, user, workdir, stopSignal } =
            run;
          expect(
            isText(
              [env, cmd, entrypoint, shell, onBuild, exposedPorts, volumes, ...labels]
                .flat()
                .concat(user, workdir, stopSignal),
            ),
          ).toBe(true);
          expect(isText([platform.os, platform.architecture])).toBe(true);
        } else {
          expect(isSound(parseManifest(bytes, ""))).toBe(true);
        }
        accepted++;
      } catch (error) {
        if (!(error instanceof BoxError)) throw error;
        expect(error.code).toMatch(/^(?:manifest|config)-invalid$/);
        // Whatever stood there, the words are short and go to a terminal.
        expect(error.message.length).toBeLessThan(600);
      }
      expect(({} as Record<string, unknown>)["mediaType"]).toBeUndefined();
    }),
    runs(1500),
  );
  // A parser that refuses everything would pass, too.
  expect(accepted).toBeGreaterThan(100);
});

test("FZ-07: of a name that stands twice the last counts, as for Go", () => {
  const other = `sha256:${"b".repeat(64)}`;
  const text = JSON.stringify(manifest).replace('"layers":', `"layers":[{"mediaType":"x"}],"layers":`);
  expect(parseManifest(new TextEncoder().encode(text), MANIFEST)).toMatchObject({ layers: [{ digest }] });
  const twice = JSON.stringify(manifest).replace(
    `"digest":"${digest}","size":3`,
    `"digest":"${digest}","digest":"${other}","size":3`,
  );
  expect(parseManifest(new TextEncoder().encode(twice), MANIFEST)).toMatchObject({ layers: [{ digest: other }] });
});

describe("platforms", () => {
  const index = (...platforms: (string | undefined)[]): Index => ({
    kind: "index",
    manifests: platforms.map((text, size) => ({
      mediaType: MANIFEST,
      digest: digest as never,
      size,
      platform: text === undefined ? undefined : parsePlatform(text),
    })),
  });

  test.each<[string, string, Index, number]>([
    ["the exact one", "linux/amd64", index("linux/386", "linux/amd64"), 1],
    ["arm64 without a variant for v8", "linux/arm64/v8", index("linux/arm64"), 0],
    ["v8 for arm64", "arm64", index("linux/amd64", "linux/arm64/v8"), 1],
    ["the newest that runs", "linux/arm/v7", index("linux/arm/v5", "linux/arm/v6", "linux/arm/v8"), 1],
    ["plain amd64 before newer levels", "linux/amd64", index("linux/amd64/v3", "linux/amd64"), 1],
    ["the first of equals", "linux/amd64", index("linux/amd64", "linux/amd64"), 0],
    ["one that does not say, if need be", "linux/amd64", index("linux/s390x", undefined), 1],
    ["another spelling", "linux/x86_64", index("linux/amd64"), 0],
  ])("selectPlatform() finds %s", (_, wanted, offers, expected) => {
    expect(selectPlatform(offers, parsePlatform(wanted), "x").size).toBe(expected);
  });

  test("selectPlatform() says what there is when nothing fits", () => {
    expect(() => selectPlatform(index("linux/arm64", "windows/amd64"), parsePlatform("linux/amd64"), "x")).toThrow(
      expect.objectContaining({ code: "platform-missing", hint: "It is made for linux/arm64, windows/amd64" }),
    );
    expect(() => selectPlatform(index("linux/arm64"), parsePlatform("linux/amd64"), "x", "load")).toThrow(
      'Cannot load "x": it is not made for linux/amd64',
    );
    expect(platformDistance(parsePlatform("linux/amd64"), parsePlatform("windows/amd64"))).toBeUndefined();
  });

  test("parsePlatform() refuses what is none, and formatPlatform() gives the others back", () => {
    for (const text of ["", "a/b/c/d", "linux/", "/amd64", "linux/amd 64", "linux/\n"]) {
      expect(() => parsePlatform(text)).toThrow(expect.objectContaining({ code: "platform-invalid" }));
    }
    for (const text of ["linux/amd64", "linux/arm/v7"]) expect(formatPlatform(parsePlatform(text))).toBe(text);
  });
});
