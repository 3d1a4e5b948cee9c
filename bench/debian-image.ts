/** A Debian image of four layers and some 400 MB, with very many small files: made of Debian's packages, kept for the next time. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { time } from "./measure.ts";

const SUITE = "bookworm";

/** What lies on the base, a layer each. The kernel's headers and vim's run time are 12,000 small files. */
const PACKAGES = [
  ["cpp-12", "libc6-dev", "libstdc++-12-dev"],
  ["libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal", "perl-modules-5.36", "git", "tzdata"],
  ["linux-headers-amd64", "vim-runtime"],
] as const;

/**
 * The image as a directory that skopeo reads as `oci:DIRECTORY:latest`. Needs root, mmdebstrap, dpkg and Debian's
 * archive the first time, and some minutes; found in the cache directory afterwards.
 */
export function debianImage(): string {
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "bantubox-bench");
  const image = join(cache, `${SUITE}-4`);
  if (existsSync(image)) return image;
  mkdirSync(cache, { recursive: true });
  console.error(`Making ${image}, which takes some minutes`);
  const work = mkdtempSync(join(cache, "tmp-"));
  try {
    const tars = [join(work, "base.tar"), ...PACKAGES.map((_, index) => join(work, `layer${index}.tar`))];
    time(["mmdebstrap", "--quiet", "--variant=minbase", SUITE, join(work, "base.tar")]);
    for (const [index, packages] of PACKAGES.entries()) makeLayer(work, packages, join(work, `layer${index}.tar`));
    mkdirSync(join(work, "oci/blobs/sha256"), { recursive: true });
    writeLayout(join(work, "oci"), tars);
    renameSync(join(work, "oci"), image);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return image;
}

/** The files of packages and of nothing that they need, in the order of their names. */
function makeLayer(work: string, packages: readonly string[], tar: string): void {
  const debs = mkdtempSync(join(work, "debs-"));
  const root = mkdtempSync(join(work, "root-"));
  time(["apt-get", "download", "-q", ...packages.flatMap(namesOf)], debs);
  for (const deb of readdirSync(debs)) time(["dpkg-deb", "-x", join(debs, deb), root]);
  time(["tar", "--sort=name", "--numeric-owner", "-C", root, "-cf", tar, "."]);
}

/** The package itself, or those of the newest kernel, whose names change with every release. */
function namesOf(name: string): string[] {
  if (name !== "linux-headers-amd64") return [name];
  const { stdout } = Bun.spawnSync(["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", name]);
  const found = /^linux-headers-\S+-common$/m.exec(stdout.toString());
  if (found === null) throw new Error(`apt-cache knows nothing that ${name} depends on: run apt-get update`);
  return [found[0]];
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

function writeLayout(layout: string, tars: readonly string[]): void {
  const layers: Descriptor[] = [];
  for (const tar of tars) {
    time(["gzip", "-6", "--keep", "--no-name", tar]);
    const digest = digestOf(`${tar}.gz`);
    const size = statSync(`${tar}.gz`).size;
    renameSync(`${tar}.gz`, blobPath(layout, digest));
    layers.push({ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest, size });
  }
  const config = writeJson(layout, "application/vnd.oci.image.config.v1+json", {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Cmd: ["/bin/sh"], Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] },
    rootfs: { type: "layers", diff_ids: tars.map(digestOf) },
    history: tars.map(() => ({ created_by: "bench/debian-image.ts" })),
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

function digestOf(path: string): string {
  const hasher = new Bun.CryptoHasher("sha256");
  const buffer = Buffer.alloc(1 << 20);
  const fd = openSync(path, "r");
  for (let count = readSync(fd, buffer); count > 0; count = readSync(fd, buffer))
    hasher.update(buffer.subarray(0, count));
  closeSync(fd);
  return `sha256:${hasher.digest("hex")}`;
}
