import type { Server } from "bun";
import { type Digest, sha256 } from "../document/digest.ts";
import { OCI_CONFIG, OCI_MANIFEST } from "../document/manifest.ts";
import { hostPlatform } from "../document/platform.ts";
import { tarHeader } from "../tar/tar-entry.ts";

/** What a test makes of a request: a response of its own, or undefined for the true one. */
export type Mischief = (
  request: Request,
  path: string,
  count: number,
) => Response | undefined | Promise<Response | undefined>;

export interface TestRegistry extends AsyncDisposable {
  readonly port: number;
  /** `127.0.0.1:port` */
  readonly domain: string;
  /** Method and path of all requests so far. */
  readonly requests: string[];
  readonly blobs: Map<string, Uint8Array>;
  /** Manifests by `repository:tag` and by digest. */
  readonly manifests: Map<string, { readonly type: string; readonly bytes: Uint8Array }>;
  mischief: Mischief | undefined;
  /** Bytes of uploads that have not ended, by their number. */
  readonly uploads: Map<string, Buffer>;
  /** An answer that announces more bytes than these and then closes the connection. Comes by a redirect to another port. */
  cut(bytes: Uint8Array, announced: number): Response;
  /** An answer that is just these bytes, and then the end of the connection. Comes in the same way. */
  raw(head: string, bytes: Uint8Array): Response;
}

/** A registry on loopback that serves what tests put in, and lies, stalls or breaks where they want it to. */
export function startRegistry(): TestRegistry {
  const blobs = new Map<string, Uint8Array>();
  const manifests: TestRegistry["manifests"] = new Map();
  const requests: string[] = [];
  const counts = new Map<string, number>();
  const uploads = new Map<string, Buffer>();
  const server: Server<undefined> = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 60,
    maxRequestBodySize: 2 ** 32,
    async fetch(request) {
      const path = new URL(request.url).pathname;
      const key = `${request.method} ${path}`;
      requests.push(key);
      const count = (counts.get(key) ?? 0) + 1;
      counts.set(key, count);
      return (await registry.mischief?.(request, path, count)) ?? serve(request, path);
    },
  });

  let pending = Buffer.alloc(0);
  const cutter = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket) {
        const bytes = pending;
        let at = 0;
        const push = () => {
          at += socket.write(bytes.subarray(at));
          if (at < bytes.length) setTimeout(push, 1);
          else end(10);
        };
        // Later, or fetch() drops what it has not handed on yet together with the connection; and bit by bit, as one
        // pause of this process makes one timer late, but not the time that fetch()'s own thread has.
        const end = (turns: number): void => {
          if (turns === 0) socket.end();
          else setTimeout(end, 5, turns - 1);
        };
        push();
      },
    },
  });

  async function serve(request: Request, path: string): Promise<Response> {
    const upload = /^\/v2\/(.+)\/blobs\/uploads\/([0-9]*)$/.exec(path);
    if (upload !== null) return await serveUpload(request, upload[1] ?? "", upload[2] ?? "");
    const list = /^\/v2\/(.+)\/tags\/list$/.exec(path);
    if (list !== null) {
      const prefix = `${list[1]}:`;
      const names = [...manifests.keys()].filter((name) => name.startsWith(prefix) && !name.startsWith("sha256:"));
      return Response.json({ name: list[1], tags: names.map((name) => name.slice(prefix.length)).sort() });
    }
    const manifest = /^\/v2\/(.+)\/manifests\/(.+)$/.exec(path);
    if (manifest !== null) {
      const [, repository, what = ""] = manifest;
      if (request.method === "PUT") {
        const type = request.headers.get("content-type") ?? "";
        const digest = putManifest(
          registry,
          `${repository}:${what}`,
          type,
          new Uint8Array(await request.arrayBuffer()),
        );
        return new Response(null, { status: 201, headers: { "Docker-Content-Digest": digest } });
      }
      const found = manifests.get(what.startsWith("sha256:") ? what : `${repository}:${what}`);
      if (found === undefined) return missing("MANIFEST_UNKNOWN", "manifest unknown");
      const headers = { "Content-Type": found.type, "Docker-Content-Digest": sha256(found.bytes) };
      return new Response(request.method === "HEAD" ? null : Buffer.from(found.bytes), { headers });
    }
    const blob = blobs.get(/\/blobs\/(.+)$/.exec(path)?.[1] ?? "");
    if (blob === undefined) return missing("BLOB_UNKNOWN", "blob unknown");
    return serveBlob(request, blob);
  }

  /** What the specification says of uploads; parts must come in order. */
  async function serveUpload(request: Request, repository: string, id: string): Promise<Response> {
    const answer = (status: number, key = id, more: Record<string, string> = {}) => {
      const location = `/v2/${repository}/blobs/uploads/${key}?_state=a%2Bb`;
      const have = uploads.get(key)?.length ?? 0;
      return new Response(null, {
        status,
        headers: { Location: location, Range: `0-${Math.max(have - 1, 0)}`, ...more },
      });
    };
    if (request.method === "POST") {
      const key = String(++uploadCount);
      uploads.set(key, Buffer.alloc(0));
      return answer(202, key);
    }
    const have = uploads.get(id);
    if (have === undefined) return missing("BLOB_UPLOAD_UNKNOWN", "upload unknown");
    if (request.method === "GET") return answer(204);
    const body = Buffer.from(await request.arrayBuffer());
    const range = request.headers.get("content-range");
    if (range !== null && range !== `${have.length}-${have.length + body.length - 1}`) return answer(416);
    const bytes = Buffer.concat([have, body]);
    if (request.method === "PATCH") {
      uploads.set(id, bytes);
      return answer(202);
    }
    const digest = new URL(request.url).searchParams.get("digest") ?? "";
    if (new URL(request.url).searchParams.get("_state") !== "a+b") return new Response("state", { status: 400 });
    uploads.delete(id);
    if (sha256(bytes) !== digest) return Response.json({ errors: [{ code: "DIGEST_INVALID" }] }, { status: 400 });
    blobs.set(digest, bytes);
    return new Response(null, { status: 201, headers: { "Docker-Content-Digest": digest } });
  }

  let uploadCount = 0;
  const port = server.port ?? 0;
  const registry: TestRegistry = {
    port,
    domain: `127.0.0.1:${port}`,
    requests,
    blobs,
    manifests,
    uploads,
    mischief: undefined,
    cut(bytes, announced) {
      return registry.raw(`HTTP/1.1 200 OK\r\nContent-Length: ${announced}\r\n\r\n`, bytes);
    },
    raw(head, bytes) {
      pending = Buffer.concat([Buffer.from(head), bytes]);
      return new Response(null, { status: 307, headers: { Location: `http://127.0.0.1:${cutter.port}/` } });
    },
    async [Symbol.asyncDispose]() {
      cutter.stop(true);
      await server.stop(true);
    },
  };
  return registry;
}

/** The blob, or the range of it that was asked for. */
export function serveBlob(request: Request, blob: Uint8Array): Response {
  const from = Number(/^bytes=([0-9]+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
  if (from === 0) return new Response(Buffer.from(blob));
  if (from >= blob.length) return new Response(null, { status: 416 });
  return new Response(Buffer.from(blob.subarray(from)), {
    status: 206,
    headers: { "Content-Range": `bytes ${from}-${blob.length - 1}/${blob.length}` },
  });
}

/** Sends `bytes` and then nothing more, without an end. */
export function stalledBody(bytes: Uint8Array, headers: Record<string, string> = {}, status = 200): Response {
  const body = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(bytes.slice()) });
  return new Response(body, { status, headers });
}

export interface TestFile {
  readonly path: string;
  readonly content?: string | Uint8Array;
  readonly mode?: number;
}

/** A layer's tar with these files; names that end in a slash are directories. */
export function makeLayer(files: readonly TestFile[]): Uint8Array {
  const parts: Buffer[] = [];
  for (const { path, content = "", mode } of files) {
    const bytes = Buffer.from(content);
    const type = path.endsWith("/") ? 0x4000 : 0x8000;
    const stat = {
      mode: type | (mode ?? (path.endsWith("/") ? 0o755 : 0o644)),
      uid: 0,
      gid: 0,
      size: bytes.length,
      mtime: 1_700_000_000,
      rdevMajor: 0,
      rdevMinor: 0,
    };
    parts.push(tarHeader({ path: Buffer.from(path), stat }), bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512));
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

export interface TestImage {
  readonly manifest: Digest;
  readonly config: Digest;
  readonly layers: readonly Digest[];
  readonly diffIds: readonly Digest[];
}

/** Puts an image with these layers into the registry under `repository:tag`. */
export function publish(
  registry: TestRegistry,
  name: string,
  layers: readonly Uint8Array[],
  { config = {}, platform = hostPlatform() as object, tag = true } = {},
): TestImage {
  const blobs = layers.map((layer) => Bun.gzipSync(Buffer.from(layer)));
  const put = (bytes: Uint8Array) => {
    const digest = sha256(bytes);
    registry.blobs.set(digest, bytes);
    return digest;
  };
  const diffIds = layers.map(sha256);
  const configBytes = encode({ ...platform, config, rootfs: { type: "layers", diff_ids: diffIds } });
  const manifest = encode({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: put(configBytes), size: configBytes.length },
    layers: blobs.map((blob) => ({
      mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
      digest: put(blob),
      size: blob.length,
    })),
  });
  putManifest(registry, tag ? name : undefined, OCI_MANIFEST, manifest);
  return { manifest: sha256(manifest), config: sha256(configBytes), layers: blobs.map(sha256), diffIds };
}

export function putManifest(registry: TestRegistry, name: string | undefined, type: string, bytes: Uint8Array): Digest {
  const digest = sha256(bytes);
  registry.manifests.set(digest, { type, bytes });
  if (name !== undefined) registry.manifests.set(name, { type, bytes });
  return digest;
}

export function encode(document: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(document));
}

function missing(code: string, message: string): Response {
  return Response.json({ errors: [{ code, message }] }, { status: 404 });
}
