/** What was pulled can be saved and pushed, also where its files were here before its blobs. */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BoxError } from "@bantubox/ffi";
import { addImage, configOf, type FixtureImage, Place } from "../archive/archive-fixture.ts";
import { loadImages } from "../archive/load.ts";
import { saveImages } from "../archive/save.ts";
import { checkImages } from "../check/check.ts";
import { type Digest, sha256 } from "../document/digest.ts";
import { OCI_CONFIG, OCI_MANIFEST } from "../document/manifest.ts";
import { initImage } from "../make/init.ts";
import { encode, makeLayer, putManifest, startRegistry } from "../registry/registry-fixture.ts";
import { blobPath, hasBlob, writeBlob } from "../store/blobs.ts";
import { findImage, getImage } from "../store/find.ts";
import { collectGarbage } from "../store/garbage.ts";
import { removeImage } from "../store/remove.ts";
import type { DriverName, ImageStore } from "../store/store.ts";
import { contents, openDatabase, temporaryStore } from "../store/store-fixture.ts";
import { type PullOptions, type PullProgress, pullImage } from "./pull.ts";
import { pushImage } from "./push.ts";

const registry = startRegistry();
const other = startRegistry();
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});
beforeEach(() => {
  for (const each of [registry, other]) {
    each.mischief = undefined;
    each.requests.length = 0;
  }
});

const quick = { retryMs: 1, connectMs: 1000, credentials: () => undefined } satisfies PullOptions;
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skipped: merging trees needs root");
const DRIVERS: readonly DriverName[] = isRoot ? ["overlay", "copy"] : ["overlay"];

const base = makeLayer([{ path: "etc/" }, { path: "etc/os", content: "base" }, { path: "gone", content: "x" }]);
const top = makeLayer([{ path: "etc/os", content: "top" }, { path: ".wh.gone" }]);

interface Published {
  readonly name: string;
  readonly manifest: Digest;
  readonly layers: readonly Digest[];
}

/** Puts an image into the registry; its ID depends on what is in its layers, not on how they are compressed. */
function publish(path: string, image: FixtureImage): Published {
  const files = new Map<string, Uint8Array>();
  const { digest } = addImage(files, image);
  for (const bytes of files.values()) {
    if (sha256(bytes) === digest) putManifest(registry, path, OCI_MANIFEST, bytes);
    else registry.blobs.set(sha256(bytes), bytes);
  }
  const { layers } = JSON.parse(new TextDecoder().decode(registry.manifests.get(digest)?.bytes)) as {
    layers: { digest: Digest }[];
  };
  return { name: `${registry.domain}/${path}`, manifest: digest, layers: layers.map((layer) => layer.digest) };
}

/** That the image can be saved and pushed, and what comes of that is the image. */
async function expectPushed(store: ImageStore, name: string): Promise<void> {
  const { id } = getImage(store, name);
  using place = new Place();
  using elsewhere = temporaryStore();
  await saveImages(store, [name], join(place.path, "saved"));
  expect((await loadImages(elsewhere, join(place.path, "saved"))).map((each) => each.id)).toEqual([id as Digest]);
  other.blobs.clear();
  const { digest } = await pushImage(store, name, { ...quick, destination: `${other.domain}/copy/of:1` });
  const { config, layers } = JSON.parse(new TextDecoder().decode(other.manifests.get(digest)?.bytes)) as {
    config: { digest: Digest };
    layers: { digest: Digest }[];
  };
  expect(config.digest).toBe(id as Digest);
  expect(layers.every((layer) => other.blobs.has(layer.digest))).toBe(true);
}

/** The same, and that nothing else of the store is damaged. */
async function expectWhole(store: ImageStore, name: string): Promise<void> {
  await expectPushed(store, name);
  expect((await checkImages(store)).filter(({ isDamage }) => isDamage)).toEqual([]);
  expect((await checkImages(store, { quick: true })).filter(({ isDamage }) => isDamage)).toEqual([]);
}

async function withStore(driver: DriverName, use: (store: ImageStore) => Promise<void>): Promise<void> {
  using plain = temporaryStore();
  await use({ ...plain, storageDriver: driver });
}

async function madeHere(store: ImageStore, name: string, content = "made"): Promise<void> {
  using place = new Place();
  mkdirSync(join(place.path, "tree"));
  writeFileSync(join(place.path, "tree/file"), content);
  await initImage(store, join(place.path, "tree"), name);
}

async function failure(promise: Promise<unknown>): Promise<BoxError> {
  const error = await promise.then(
    () => new Error("it went well"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof BoxError)) throw error;
  return error;
}

const blobRequests = (): string[] =>
  registry.requests.filter((each) => each.startsWith("GET ") && each.includes("/blobs/"));

describe.each([...DRIVERS])("on %s", (driver) => {
  test("an image that was made here, and is pulled, is as good as it was", () =>
    withStore(driver, async (store) => {
      await madeHere(store, "made:1");
      for (const compression of ["gzip", "zstd", "none"] as const) {
        const name = `${registry.domain}/t/made:${compression}`;
        const { digest } = await pushImage(store, "made:1", { ...quick, destination: name, compression });
        await pullImage(store, name, quick);
        await expectWhole(store, "made:1");
        // With the very manifest that it came with.
        expect((await pushImage(store, name, { ...quick, destination: `${other.domain}/c/d:1` })).digest).toBe(digest);
        await removeImage(store, name);
        await removeImage(store, "made:1");
        expect(contents(store)).toMatchObject({ layers: [], blobs: [], ingest: [], images: 0 });
        await madeHere(store, "made:1");
      }
    }));

  test("layers that came compressed otherwise are fetched, verified, and not unpacked again", () =>
    withStore(driver, async (store) => {
      const image = { layers: [base, top] };
      const [gz, zz, plain] = [
        publish("t/same:gz", { ...image, compress: "gzip" }),
        publish("t/same:zz", { ...image, compress: "zstd" }),
        publish("t/same:plain", image),
      ];
      await pullImage(store, gz.name, quick);
      const { layers } = contents(store);
      for (const each of [zz, plain]) {
        const phases = new Set<string>();
        const onProgress = ({ phase }: PullProgress) => phases.add(phase);
        expect((await pullImage(store, each.name, { ...quick, onProgress })).status).toBe("downloaded");
        expect([...phases].sort()).toEqual(["done", "downloading"]);
        for (const name of [gz.name, each.name]) await expectWhole(store, name);
        expect(contents(store)).toMatchObject({ layers, ingest: [], images: 1 });
        expect(each.layers.every((digest) => hasBlob(store, digest))).toBe(true);
      }
      // Those of the manifests before are nobody's any more.
      await collectGarbage(store);
      expect(gz.layers.every((digest) => hasBlob(store, digest))).toBe(false);
      expect(plain.layers.every((digest) => hasBlob(store, digest))).toBe(true);
      expect((await pullImage(store, gz.name, quick)).status).toBe("up-to-date");
      await expectWhole(store, zz.name);
    }));

  test("an image on top of one that was made here comes with the blobs of both", () =>
    withStore(driver, async (store) => {
      await madeHere(store, "below:1", "below");
      const below = `${registry.domain}/t/below:1`;
      await pushImage(store, "below:1", { ...quick, destination: below });
      const blob = [...registry.blobs.values()].at(-1) ?? new Uint8Array();
      const above = publish("t/above:1", { layers: [Bun.gunzipSync(Buffer.from(blob)), top], compress: "gzip" });
      await pullImage(store, above.name, quick);
      await expectWhole(store, above.name);
      await expectWhole(store, "below:1");
      await removeImage(store, "below:1");
      await expectWhole(store, above.name);
    }));

  test("what has lost blobs is not up to date: a pull brings these, and asks for nothing when nothing is lost", () =>
    withStore(driver, async (store) => {
      const image = publish(`t/lost-${driver}:1`, { layers: [base, top], compress: "gzip" });
      await pullImage(store, image.name, quick);
      const config = getImage(store, image.name).id as Digest;
      for (const gone of [...image.layers, config, image.manifest]) {
        const isLayer = image.layers.includes(gone);
        rmSync(blobPath(store, gone));
        const said = [];
        for (const quickly of [true, false]) said.push(...(await checkImages(store, { quick: quickly, repair: true })));
        expect(said.filter(({ kind }) => kind === "image")).toHaveLength(2);
        for (const { action, isRepaired } of said.filter(({ kind }) => kind === "image")) {
          expect([action, isRepaired]).toEqual([`pull it again: ${image.name}`, false]);
        }
        if (isLayer) {
          const path = `${store.root}/half.tar`;
          expect((await failure(saveImages(store, [image.name], path))).hint).toBe("Pull or load it again");
          expect(existsSync(path)).toBe(false);
        }
        registry.requests.length = 0;
        // It runs all the same.
        expect((await pullImage(store, image.name, { ...quick, policy: "missing" })).status).toBe("up-to-date");
        expect(registry.requests).toEqual([]);
        expect((await pullImage(store, image.name, quick)).status).toBe("downloaded");
        expect(blobRequests().filter((each) => image.layers.some((digest) => each.endsWith(digest)))).toHaveLength(
          isLayer ? 1 : 0,
        );
        await expectWhole(store, image.name);
        registry.requests.length = 0;
        expect((await pullImage(store, image.name, quick)).status).toBe("up-to-date");
        expect(registry.requests).toEqual([`HEAD /v2/t/lost-${driver}/manifests/1`]);
      }
    }));

  test("blobs with wrong bytes are thrown away by a repair, which leaves the image to a pull", () =>
    withStore(driver, async (store) => {
      const image = publish("t/wrong:1", { layers: [base, top], compress: "gzip" });
      await pullImage(store, image.name, quick);
      const damaged = [...image.layers, image.manifest, getImage(store, image.name).id as Digest];
      for (const digest of damaged) {
        const bytes = readFileSync(blobPath(store, digest));
        writeFileSync(blobPath(store, digest), bytes.fill(0, 20, 40));
        const [before] = (await checkImages(store)).filter(({ kind }) => kind === "image");
        expect(before?.action).toBe(`--repair throws away what is damaged; then pull it again: ${image.name}`);
        const [after] = (await checkImages(store, { repair: true })).filter(({ kind }) => kind === "image");
        expect(after?.action).toBe(`pull it again: ${image.name}`);
        expect(findImage(store, image.name)?.id).toBe(sha256(configOf({ layers: [base, top] })));
        await pullImage(store, image.name, quick);
        await expectWhole(store, image.name);
      }
    }));

  test("many pulls at once of images that share layers, each compressed in its own way", () =>
    withStore(driver, async (store) => {
      const images = (["gzip", "zstd", undefined] as const).flatMap((compress, at) =>
        [[base, top], [base]].map((layers, index) => {
          const image: FixtureImage = compress === undefined ? { layers } : { layers, compress };
          return publish(`t/many${index}:${at}`, image);
        }),
      );
      await Promise.all(images.map(({ name }) => pullImage(store, name, quick)));
      for (const { name } of images) await expectWhole(store, name);
      const fetched = blobRequests().filter((each) =>
        images.some(({ layers }) => layers.some((l) => each.endsWith(l))),
      );
      // Each from where it was asked for first.
      expect(new Set(fetched.map((each) => each.slice(-64))).size).toBe(6);
    }));
});

test("an image below which blobs are missing says which other one brings them", async () => {
  using store = temporaryStore();
  const below = publish("t/under:1", { layers: [base], compress: "gzip" });
  await pullImage(store, below.name, quick);
  const above = publish("t/under:2", { layers: [base, top], compress: "gzip" });
  await pullImage(store, above.name, quick);
  // As a commit leaves it.
  store.database.run(`UPDATE image SET kind = 'local' WHERE id = '${getImage(store, above.name).id}'`);
  rmSync(blobPath(store, below.layers[0] as Digest));
  const found = (await checkImages(store, { repair: true })).filter(({ kind }) => kind === "image");
  expect(found.map(({ action }) => action).sort()).toEqual([
    `pull it again: ${below.name}`,
    `pull what it was made of again: ${below.name}`,
  ]);
  await pullImage(store, below.name, quick);
  await expectWhole(store, above.name);
});

describe("an image that lies about blobs", () => {
  /** Says of the blobs of one image that they are another one's layers. */
  function lie(path: string, blobs: readonly Digest[], layers: readonly Uint8Array[]): string {
    const config = configOf({ layers });
    registry.blobs.set(sha256(config), config);
    const manifest = encode({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: OCI_CONFIG, digest: sha256(config), size: config.length },
      layers: blobs.map((digest) => ({
        mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
        digest,
        size: registry.blobs.get(digest)?.length,
      })),
    });
    putManifest(registry, path, OCI_MANIFEST, manifest);
    return `${registry.domain}/${path}`;
  }

  test("is refused where its blob is not of the layer that is here", async () => {
    using store = temporaryStore();
    const good = publish("t/good:1", { layers: [base], compress: "gzip" });
    const evil = publish("t/evil:1", { layers: [top], compress: "gzip" });
    await pullImage(store, good.name, quick);
    const name = lie("t/evil:2", evil.layers, [base]);
    expect((await failure(pullImage(store, name, quick))).code).toBe("layer-corrupt");
    expect(contents(store)).toMatchObject({ images: 1, ingest: [] });
    expect(hasBlob(store, evil.layers[0] as Digest)).toBe(false);
    await expectWhole(store, good.name);
  });

  test("takes none from those that need it", async () => {
    using store = temporaryStore();
    const good = publish("t/good:2", { layers: [base], compress: "gzip" });
    await pullImage(store, good.name, quick);
    expect((await failure(pullImage(store, lie("t/evil:3", good.layers, [top]), quick))).code).toBe("layer-corrupt");
    expect(contents(store)).toMatchObject({ images: 1, ingest: [] });
    await expectWhole(store, good.name);
  });

  test("is refused also where both are here, and takes none by a repair either", async () => {
    using store = temporaryStore();
    const good = publish("t/good:3", { layers: [base], compress: "gzip" });
    const more = publish("t/good:4", { layers: [top], compress: "gzip" });
    for (const { name } of [good, more]) await pullImage(store, name, quick);
    const evil = lie("t/evil:5", more.layers, [base]);
    expect((await failure(pullImage(store, evil, quick))).code).toBe("layer-corrupt");
    for (const { name } of [good, more]) await expectWhole(store, name);

    // As it was recorded when nobody looked.
    const { bytes } = registry.manifests.get("t/evil:5") ?? { bytes: new Uint8Array() };
    writeBlob(store, sha256(bytes), bytes);
    const { id } = getImage(store, good.name);
    store.database.run(`UPDATE image SET manifest = '${sha256(bytes)}' WHERE id = '${id}'`);
    const found = (await checkImages(store, { repair: true })).filter(({ isDamage }) => isDamage);
    expect(found.map(({ kind }) => kind)).toEqual(["blob", "image"]);
    await expectPushed(store, more.name);
  });
});

test("a pull of blobs alone that is killed or fails at any moment leaves the image as it was", async () => {
  using store = temporaryStore();
  const big = (seed: number): Uint8Array => {
    const bytes = new Uint8Array(200_000);
    for (let at = 0; at < bytes.length; at++) bytes[at] = Math.imul(at ^ seed, 2654435761) >>> 13;
    return makeLayer([{ path: `noise${seed}`, content: bytes }]);
  };
  const layers = [1, 2, 3].map(big);
  const [gz, zz] = [
    publish("t/kill:gz", { layers, compress: "gzip" }),
    publish("t/kill:zz", { layers, compress: "zstd" }),
  ];
  await pullImage(store, gz.name, quick);
  registry.mischief = (_, path) => (path.endsWith(zz.layers[1] ?? "-") ? new Response("", { status: 403 }) : undefined);
  await failure(pullImage(store, zz.name, quick));
  await expectWhole(store, gz.name);
  registry.mischief = async () => {
    await Bun.sleep(5);
    return undefined;
  };
  const program = `
    import { openDatabase } from ${JSON.stringify(join(import.meta.dir, "../store/store-fixture.ts"))};
    import { pullImage } from ${JSON.stringify(join(import.meta.dir, "pull.ts"))};
    const root = ${JSON.stringify(store.root)};
    const store = { root, database: openDatabase(root) };
    console.log("ready");
    for (const name of ${JSON.stringify([zz.name, gz.name, zz.name, gz.name])}) await pullImage(store, name, { retryMs: 1 });
    process.kill(process.pid, "SIGKILL");
  `;
  for (const delayMs of [0, 20, 40, 60]) {
    await using child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "ignore" });
    await child.stdout.getReader().read();
    await Bun.sleep(delayMs);
    child.kill("SIGKILL");
    await child.exited;
    using database = openDatabase(store.root);
    await expectWhole({ root: store.root, database }, gz.name);
  }
  await pullImage(store, zz.name, quick);
  await expectWhole(store, gz.name);
  expect(contents(store)).toMatchObject({ ingest: [], images: 1, rows: 3 });
}, 30_000);
