/** A Debian image of four layers and some 400 MB, with very many small files: made of Debian's packages, kept for the next time. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { time } from "./measure.ts";
import { digestOf, writeLayout } from "./oci-layout.ts";

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
    for (const tar of tars) time(["gzip", "-6", "--keep", "--no-name", tar]);
    const layers = tars.map((tar) => ({ diffId: digestOf(tar), blob: `${tar}.gz` }));
    writeLayout(join(work, "oci"), layers, "bench/debian-image.ts");
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
