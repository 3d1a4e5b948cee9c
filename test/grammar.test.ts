/** FZ-06 and FZ-07 from outside: what we take for names and manifests, Go's own parsers (in skopeo) take, too. */
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseManifest } from "../packages/image/src/document/manifest.ts";
import { parseReference } from "../packages/image/src/document/reference.ts";
import { run } from "./harness.ts";

const directory = mkdtempSync(join(tmpdir(), "bb-grammar-"));
afterAll(() => rmSync(directory, { recursive: true }));

const HEX = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** Runs `each` for all items, a few at a time. */
async function forAll<T>(items: readonly T[], each: (item: T) => Promise<void>): Promise<void> {
  const waiting = items.values();
  await Promise.all(
    [1, 2, 3].map(async () => {
      for (const item of waiting) await each(item);
    }),
  );
}

function accepts(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch {
    return false;
  }
}

/**
 * Every piece at every seam of a few names. Without IPv6 addresses and names at the limit of their length: newer Go
 * code than Debian's skopeo takes both as we do.
 */
function names(): string[] {
  const starts = ["alpine", "a.b/c", "localhost:5000/a/b:1", `quay.io/a@sha256:${HEX}`];
  const pieces = ["A", "..", "__", "___", "--", "_", "/", ":", "@", "]", " ", "é", ".", "-", ":x", ":5000/"];
  const all = starts.flatMap((start) => {
    const seams = [0, 1, start.indexOf("/"), start.indexOf(":"), start.lastIndexOf(":") + 1, start.length];
    return pieces.map((piece, turn) => {
      const at = Math.max(0, seams[turn % seams.length] ?? 0);
      return start.slice(0, at) + piece + start.slice(at);
    });
  });
  const whole = [
    "a:b",
    `${"a/".repeat(120)}a`,
    `${"a".repeat(256)}`,
    `a:${"t".repeat(128)}`,
    `a:${"t".repeat(129)}`,
    HEX,
  ];
  return [...new Set([...starts, ...all, ...whole])];
}

test("FZ-06: skopeo takes the names that we take, and no others", async () => {
  const empty = join(directory, "empty");
  mkdirSync(empty);
  const found: [string, boolean][] = [];
  const expected: [string, boolean][] = [];
  await forAll(names(), async (name) => {
    // The name is read before it is found that there is nothing to copy.
    const { stderr } = await run(["skopeo", "copy", `dir:${empty}`, `docker://${name}`]);
    expect(stderr).toMatch(/Invalid destination name|manifest\.json/);
    expected.push([name, !stderr.includes("Invalid destination name")]);
    found.push([name, accepts(() => parseReference(name))]);
  });
  expect(found).toEqual(expected);
  expect(expected.filter(([, taken]) => taken).length).toBeGreaterThan(12);
});

test("FZ-07: skopeo reads the same layers out of each manifest that we take", async () => {
  const OCI = "application/vnd.oci.image.manifest.v1+json";
  const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
  const configText = JSON.stringify({
    os: "linux",
    architecture: "amd64",
    rootfs: { type: "layers", diff_ids: [digest("d")] },
  });
  const hex = new Bun.CryptoHasher("sha256").update(configText).digest("hex");
  const config = {
    mediaType: "application/vnd.oci.image.config.v1+json",
    digest: `sha256:${hex}`,
    size: configText.length,
  };
  const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: digest("a"), size: 3 };
  const manifest = { schemaVersion: 2, mediaType: OCI, config, layers: [layer] };
  const text = JSON.stringify(manifest);
  const documents: [string, string][] = [
    ["as it should be", text],
    ["pretty", JSON.stringify(manifest, undefined, 3)],
    ["with what nobody knows", JSON.stringify({ ...manifest, annotations: { a: "b" }, extra: [1] })],
    ["with __proto__", text.replace("{", '{"__proto__":{"layers":[]},')],
    [
      "with a digest twice",
      text.replace(`"digest":"${layer.digest}"`, `"digest":"${digest("b")}","digest":"${layer.digest}"`),
    ],
    [
      "with layers twice",
      text.replace('"layers":', `"layers":[${JSON.stringify({ ...layer, digest: digest("b") })}],"layers":`),
    ],
    [
      "with LAYERS, too",
      text.replace('"layers":', `"LAYERS":[${JSON.stringify({ ...layer, digest: digest("b") })}],"layers":`),
    ],
    ["with Layers after", `${text.slice(0, -1)},"Layers":[${JSON.stringify({ ...layer, digest: digest("b") })}]}`],
    ["with a negative size", text.replace('"size":3', '"size":-3')],
    ["with a size in quotes", text.replace('"size":3', '"size":"3"')],
    ["with a size of 1e400", text.replace('"size":3', '"size":1e400')],
    ["with half a byte", text.replace('"size":3', '"size":0.5')],
    ["that is an index, too", `${text.slice(0, -1)},"manifests":[]}`],
    ["cut off", text.slice(0, -1)],
    ["with something behind", `${text} x`],
    ["with a comment", text.replace("{", "{/* */")],
    ["with layers that are null", text.replace(/"layers":\[.*\]/, '"layers":null')],
    ["with an escape in a name", text.replace('"layers"', '"\\u006cayers"')],
    ["with half a surrogate", text.replace('"schemaVersion"', '"\\ud800":1,"schemaVersion"')],
  ];
  let taken = 0;
  await forAll(documents, async ([what, document]) => {
    const path = join(directory, what.replace(/[^a-z0-9]/gi, "-"));
    mkdirSync(path);
    writeFileSync(join(path, "manifest.json"), document);
    writeFileSync(join(path, hex), configText);
    const ours = accepts(() => parseManifest(new TextEncoder().encode(document), ""));
    if (!ours) return;
    taken++;
    const parsed = parseManifest(new TextEncoder().encode(document), "");
    const { code, stdout, stderr } = await run(["skopeo", "inspect", `dir:${path}`]);
    expect([what, code, stderr]).toEqual([what, 0, ""]);
    const { Layers } = JSON.parse(stdout) as { Layers: string[] };
    expect([what, parsed.kind === "manifest" && parsed.layers.map((each) => String(each.digest))]).toEqual([
      what,
      Layers,
    ]);
  });
  expect(taken).toBeGreaterThanOrEqual(6);
});
