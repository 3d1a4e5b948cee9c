import type { Server } from "bun";
import { tarHeader } from "./archive.ts";
import { type Digest, sha256 } from "./digest.ts";
import { OCI_CONFIG, OCI_MANIFEST } from "./manifest.ts";
import { hostPlatform } from "./platform.ts";

/** What a test makes of a request: a response of its own, or undefined for the true one. */
export type Mischief = (request: Request, path: string, count: number) => Response | Promise<Response> | undefined;

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
  /** An answer that announces more bytes than these and then closes the connection. Comes by a redirect to another port. */
  cut(bytes: Uint8Array, announced: number): Response;
}

/** A registry on loopback that serves what tests put in, and lies, stalls or breaks where they want it to. */
export function startRegistry(): TestRegistry {
  const blobs = new Map<string, Uint8Array>();
  const manifests: TestRegistry["manifests"] = new Map();
  const requests: string[] = [];
  const counts = new Map<string, number>();
  const server: Server<undefined> = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 60,
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
          // Later, or fetch() drops what it has not handed on yet together with the connection.
          else setTimeout(() => socket.end(), 30);
        };
        push();
      },
    },
  });

  function serve(request: Request, path: string): Response {
    const manifest = /^\/v2\/(.+)\/manifests\/(.+)$/.exec(path);
    if (manifest !== null) {
      const [, repository, what = ""] = manifest;
      const found = manifests.get(what.startsWith("sha256:") ? what : `${repository}:${what}`);
      if (found === undefined) return missing("MANIFEST_UNKNOWN", "manifest unknown");
      const headers = { "Content-Type": found.type, "Docker-Content-Digest": sha256(found.bytes) };
      return new Response(request.method === "HEAD" ? null : Buffer.from(found.bytes), { headers });
    }
    const blob = blobs.get(/\/blobs\/(.+)$/.exec(path)?.[1] ?? "");
    if (blob === undefined) return missing("BLOB_UNKNOWN", "blob unknown");
    return serveBlob(request, blob);
  }

  const port = server.port ?? 0;
  const registry: TestRegistry = {
    port,
    domain: `127.0.0.1:${port}`,
    requests,
    blobs,
    manifests,
    mischief: undefined,
    cut(bytes, announced) {
      const head = `HTTP/1.1 200 OK\r\nContent-Length: ${announced}\r\n\r\n`;
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
