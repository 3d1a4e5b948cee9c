import { BoxError } from "@bantubox/ffi";
import * as z from "zod/mini";
import type { RunConfig } from "../store/store.ts";
import { type Digest, isDigest, quote } from "./digest.ts";
import { formatPlatform, type Platform, platformDistance } from "./platform.ts";

/** Largest manifest, index or config that is read at all; what registries take, too. */
export const DOCUMENT_MAX = 4 << 20;
/** The kernel's overlay takes 500 lower directories. */
export const LAYERS_MAX = 500;
/** Labels of this prefix are ours: an image cannot set them. */
const RESERVED_LABELS = "io.bantubox.";

export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
export const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";

export const ACCEPTED_MANIFESTS = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");

const INDEXES = new Set([OCI_INDEX, DOCKER_LIST]);
const MANIFESTS = new Set([OCI_MANIFEST, DOCKER_MANIFEST]);
/** What a layer may be called. `layer.ts` goes by the bytes; these names only keep out what is no layer. */
const LAYER_TYPE =
  /^application\/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.gzip|\.zstd)?)$/;

const text = z.string().check(z.refine((value) => !value.includes("\0"), "holds a NUL"));
const digest = z.custom<Digest>((value) => typeof value === "string" && isDigest(value), "is not a sha256 digest");
const size = z.int().check(z.nonnegative());

const descriptorSchema = z.object({ mediaType: text, digest, size });
export type Descriptor = z.infer<typeof descriptorSchema>;

const platformSchema = z.object({ os: text, architecture: text, variant: z.optional(text) });

const indexSchema = z.object({
  schemaVersion: z.literal(2),
  manifests: z.array(z.extend(descriptorSchema, { platform: z.nullish(platformSchema) })),
});

const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  config: descriptorSchema,
  layers: z.array(descriptorSchema),
});

export interface Manifest {
  readonly kind: "manifest";
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface Index {
  readonly kind: "index";
  readonly manifests: readonly (Descriptor & { readonly platform: Platform | undefined })[];
}

export interface ImageDocument {
  readonly platform: Platform;
  /** RFC 3339, as the image has it. */
  readonly created: string | undefined;
  readonly diffIds: readonly Digest[];
  readonly config: RunConfig;
}

/**
 * Reads a manifest or an index. What is both, or says to be something else than it was sent as, is neither.
 *
 * Duplicate names in the JSON: the last one counts, as for Go; names that differ only in case are refused,
 * since Go would take them and we would not.
 *
 * @param contentType What the registry called it; empty when it did not say.
 * @throws {BoxError} `manifest-invalid`
 * @see https://github.com/opencontainers/image-spec/blob/main/manifest.md
 */
export function parseManifest(bytes: Uint8Array, contentType: string): Manifest | Index {
  const document = parseObject(bytes, "manifest");
  const { mediaType: said, schemaVersion } = document;
  if (said !== undefined && typeof said !== "string") throw invalid("manifest", "mediaType: is not text");
  const known = INDEXES.has(contentType) || MANIFESTS.has(contentType);
  if (said !== undefined && known && said !== contentType) {
    throw invalid("manifest", `it was sent as ${quote(contentType)} but says to be ${quote(said)}`);
  }
  const type = said ?? (known ? contentType : undefined);
  const looksLikeIndex = "manifests" in document;
  const looksLikeManifest = "layers" in document || "config" in document;
  if (looksLikeIndex === looksLikeManifest) {
    if (schemaVersion === 1) {
      throw invalid("manifest", "it has Docker's old form, schema 1, which nobody should make any more");
    }
    throw invalid(
      "manifest",
      looksLikeIndex ? "it is a manifest and an index at once" : "it is neither manifest nor index",
    );
  }
  if (type !== undefined && !(looksLikeIndex ? INDEXES : MANIFESTS).has(type)) {
    throw invalid("manifest", `its content does not fit its type, ${quote(type)}`);
  }
  if (looksLikeIndex) {
    const { manifests } = check(indexSchema, document, "manifest");
    return {
      kind: "index",
      manifests: manifests.map((entry) => ({ ...entry, platform: entry.platform ?? undefined })),
    };
  }
  const manifest = check(manifestSchema, document, "manifest");
  if (manifest.config.mediaType !== OCI_CONFIG && manifest.config.mediaType !== DOCKER_CONFIG) {
    throw invalid("manifest", `it is no image for containers but ${quote(manifest.config.mediaType)}`);
  }
  if (manifest.layers.length > LAYERS_MAX) throw invalid("manifest", `it has more than ${LAYERS_MAX} layers`);
  for (const layer of manifest.layers) {
    if (!LAYER_TYPE.test(layer.mediaType)) throw invalid("manifest", `${quote(layer.mediaType)} is no layer`);
  }
  return { kind: "manifest", config: manifest.config, layers: manifest.layers };
}

/** What a manifest that is here is called where it is sent; many leave it to their `Content-Type`. */
export function manifestType({ config }: Manifest, bytes: Uint8Array): string {
  const { mediaType } = parseObject(bytes, "manifest");
  if (typeof mediaType === "string") return mediaType;
  return config.mediaType === DOCKER_CONFIG ? DOCKER_MANIFEST : OCI_MANIFEST;
}

/** The index's entry for a platform: the nearest variant, the first of equals. @throws {BoxError} `platform-missing` */
export function selectPlatform(
  { manifests }: Index,
  wanted: Platform,
  name: string,
  verb: "pull" | "load" = "pull",
): Descriptor {
  let best: Descriptor | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const entry of manifests) {
    const nested = INDEXES.has(entry.mediaType);
    if (!nested && !MANIFESTS.has(entry.mediaType)) continue;
    // An entry that does not say is taken when nothing better is there: single-platform indexes omit it.
    const distance = entry.platform === undefined ? 1000 : platformDistance(wanted, entry.platform);
    if (distance === undefined || distance >= bestDistance) continue;
    best = entry;
    bestDistance = distance;
  }
  if (best !== undefined) return best;
  const offers = manifests.flatMap(({ platform }) =>
    platform === undefined || platform.os === "unknown" ? [] : [formatPlatform(platform)],
  );
  const message = `Cannot ${verb} ${quote(name)}: it is not made for ${formatPlatform(wanted)}`;
  throw new BoxError("platform-missing", message, {
    hint:
      offers.length === 0
        ? undefined
        : `It is made for ${quote([...new Set(offers)].slice(0, 12).join(", ")).slice(1, -1)}`,
  });
}

const strings = z.nullish(z.array(text));
const anything = z.nullish(z.unknown());

const healthcheckSchema = z.object({
  Test: strings,
  Interval: z.nullish(size),
  Timeout: z.nullish(size),
  StartPeriod: z.nullish(size),
  StartInterval: z.nullish(size),
  Retries: z.nullish(size),
});

const configSchema = z.object({
  os: text,
  architecture: text,
  variant: z.nullish(text),
  created: z.nullish(text),
  rootfs: z.object({ type: z.literal("layers"), diff_ids: z.nullish(z.array(digest)) }),
  history: z.nullish(z.array(z.object({ empty_layer: z.nullish(z.boolean()) }))),
  config: z.nullish(
    z.object({
      Env: strings,
      Cmd: strings,
      Entrypoint: strings,
      User: z.nullish(text),
      WorkingDir: z.nullish(text),
      ExposedPorts: anything,
      Volumes: anything,
      Labels: anything,
      StopSignal: z.nullish(text),
      Shell: strings,
      OnBuild: strings,
      Healthcheck: z.nullish(healthcheckSchema),
    }),
  ),
});

/**
 * Reads an image's config. Only what an image may say about a container's inside comes through:
 * never mounts, devices, logging, security or labels of our own.
 *
 * @param layers How many layers the manifest lists.
 * @throws {BoxError} `config-invalid`
 * @see https://github.com/opencontainers/image-spec/blob/main/config.md
 */
export function parseConfig(bytes: Uint8Array, layers: number): ImageDocument {
  const document = check(configSchema, parseObject(bytes, "config"), "config");
  const diffIds = document.rootfs.diff_ids ?? [];
  if (diffIds.length !== layers) {
    throw invalid("config", `it lists ${diffIds.length} layers, the manifest ${layers}`);
  }
  // Fewer is tolerated, as Docker does: some builders leave history out for layers that they add.
  const described = document.history?.filter((entry) => entry.empty_layer !== true).length ?? 0;
  if (described > layers) throw invalid("config", `its history tells of ${described} layers, and it has ${layers}`);
  const run = document.config ?? {};
  return {
    platform: { os: document.os, architecture: document.architecture, variant: document.variant ?? undefined },
    created: document.created ?? undefined,
    diffIds,
    config: {
      env: run.Env ?? [],
      cmd: run.Cmd ?? [],
      entrypoint: run.Entrypoint ?? [],
      user: run.User ?? "",
      workdir: run.WorkingDir ?? "",
      exposedPorts: keys(run.ExposedPorts, "ExposedPorts"),
      volumes: keys(run.Volumes, "Volumes"),
      labels: labels(run.Labels),
      stopSignal: run.StopSignal ?? "",
      shell: run.Shell ?? [],
      onBuild: run.OnBuild ?? [],
      healthcheck: healthcheck(run.Healthcheck ?? undefined),
    },
  };
}

function healthcheck(check: z.infer<typeof healthcheckSchema> | undefined): RunConfig["healthcheck"] {
  if (check === undefined) return undefined;
  return {
    test: check.Test ?? [],
    intervalNs: check.Interval ?? 0,
    timeoutNs: check.Timeout ?? 0,
    startPeriodNs: check.StartPeriod ?? 0,
    startIntervalNs: check.StartInterval ?? 0,
    retries: check.Retries ?? 0,
  };
}

/** Entries, not an object: a label may be called `__proto__`. */
function labels(value: unknown): [string, string][] {
  const pairs: [string, string][] = [];
  for (const [name, content] of entries(value, "Labels")) {
    if (typeof content !== "string") throw invalid("config", "Labels: a label is not text");
    if (content.includes("\0")) throw invalid("config", "Labels: holds a NUL");
    if (!name.startsWith(RESERVED_LABELS)) pairs.push([name, content]);
  }
  return pairs;
}

function keys(value: unknown, field: string): string[] {
  return entries(value, field).map(([name]) => name);
}

function entries(value: unknown, field: string): [string, unknown][] {
  if (value === undefined || value === null) return [];
  if (typeof value !== "object" || Array.isArray(value)) throw invalid("config", `${field}: is not an object`);
  const pairs = Object.entries(value);
  if (pairs.some(([name]) => name.includes("\0"))) throw invalid("config", `${field}: holds a NUL`);
  return pairs;
}

function parseObject(bytes: Uint8Array, what: Kind): Readonly<Record<string, unknown>> {
  if (bytes.length > DOCUMENT_MAX) throw invalid(what, `it is larger than ${DOCUMENT_MAX} bytes`);
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw invalid(what, "it is not JSON");
  }
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw invalid(what, "it is not a JSON object");
  }
  if (what === "manifest") refuseCaseTwins(document);
  return document as Record<string, unknown>;
}

function refuseCaseTwins(document: object): void {
  const names = ["schemaVersion", "mediaType", "config", "layers", "manifests"];
  for (const key of Object.keys(document)) {
    if (names.includes(key)) continue;
    const lower = key.toLowerCase();
    if (names.some((name) => name.toLowerCase() === lower)) throw invalid("manifest", `${quote(key)} is misspelt`);
  }
}

function check<T extends z.ZodMiniType>(schema: T, document: unknown, what: Kind): z.infer<T> {
  const result = z.safeParse(schema, document);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = issue?.path.map(String).join(".") ?? "";
  throw invalid(
    what,
    `${quote(where).slice(1, -1)}: ${issue?.code === "custom" ? issue.message : "is missing or of the wrong kind"}`,
  );
}

type Kind = "manifest" | "config";

function invalid(what: Kind, why: string): BoxError {
  return new BoxError(`${what}-invalid`, `Cannot use the image's ${what}: ${why}`);
}
