/** Images as directories that skopeo copies into a registry. */
import { closeSync, mkdirSync, openSync, readSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** A layer that is a file still. */
export interface LayerFile {
  readonly diffId: string;
  /** Its gzip, which is moved into the layout. */
  readonly blob: string;
}

/** Makes an OCI layout of one image, which skopeo reads as `oci:LAYOUT:latest`. @param author For its history. */
export function writeLayout(layout: string, files: readonly LayerFile[], author: string): void {
  mkdirSync(join(layout, "blobs/sha256"), { recursive: true });
  const layers: Descriptor[] = files.map(({ blob }) => {
    const digest = digestOf(blob);
    const size = statSync(blob).size;
    renameSync(blob, blobPath(layout, digest));
    return { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest, size };
  });
  const config = writeJson(layout, "application/vnd.oci.image.config.v1+json", {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Cmd: ["/bin/sh"], Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] },
    rootfs: { type: "layers", diff_ids: files.map(({ diffId }) => diffId) },
    history: files.map(() => ({ created_by: author })),
  });
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = writeJson(layout, mediaType, { schemaVersion: 2, mediaType, config, layers });
  const annotations = { "org.opencontainers.image.ref.name": "latest" };
  writeFileSync(
    join(layout, "index.json"),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
  writeFileSync(join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
}

function writeJson(layout: string, mediaType: string, value: unknown): Descriptor {
  const text = JSON.stringify(value);
  const digest = `sha256:${new Bun.CryptoHasher("sha256").update(text).digest("hex")}`;
  writeFileSync(blobPath(layout, digest), text);
  return { mediaType, digest, size: Buffer.byteLength(text) };
}

function blobPath(layout: string, digest: string): string {
  return join(layout, "blobs", digest.replace(":", "/"));
}

/** SHA-256 of a file of any length. */
export function digestOf(path: string): string {
  const hasher = new Bun.CryptoHasher("sha256");
  const buffer = Buffer.alloc(1 << 20);
  const fd = openSync(path, "r");
  for (let count = readSync(fd, buffer); count > 0; count = readSync(fd, buffer))
    hasher.update(buffer.subarray(0, count));
  closeSync(fd);
  return `sha256:${hasher.digest("hex")}`;
}
