/**
 * Measures `bb save` and `bb load` of a Debian image of four layers and 400 MB against podman and skopeo, and
 * `bb images` with a thousand images, in interleaved runs. Run it as root, on a quiet machine.
 *
 *     bun bench/archives.ts [--runs N] [--directory DIR] [--json FILE]
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openEngine } from "../packages/core/src/mod.ts";
import { debianImage } from "./debian-image.ts";
import { interleave, type Sample, type Subject, time } from "./measure.ts";

const BB = process.env["BB"] ?? join(import.meta.dir, "../dist/bb");
const IMAGES = 1000;
const TARGET_LIST_MS = 40;
const TARGET_MEMORY_MB = 150;

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    directory: { type: "string", default: tmpdir() },
    json: { type: "string" },
  },
});
const runs = Number(values.runs);
if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs takes a number from 1, not "${values.runs}"`);

const directory = mkdtempSync(join(values.directory, "bb-bench-"));
const archive = join(directory, "debian.tar");
const peaks: number[] = [];
let places = 0;
try {
  const results = { list: await list(), save: await save(), load: await load() };
  console.log(`  bb's peak memory, MB = ${Math.max(...peaks).toFixed(0)}   target <= ${TARGET_MEMORY_MB}`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ runs, peaks, ...results })}\n`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}

/** A new directory each time; all are deleted at the end, since a file system that has just lost much is a slow one. */
function place(): string {
  const path = join(directory, String(places++));
  mkdirSync(path);
  return path;
}

function bb(store: string, ...args: readonly string[]): number {
  const before = Bun.nanoseconds();
  const command = [BB, "--root", join(store, "lib"), "--run-root", join(store, "run"), ...args];
  const { exitCode, stderr, resourceUsage } = Bun.spawnSync(command, { stdin: "ignore", stdout: "ignore" });
  const ms = (Bun.nanoseconds() - before) / 1e6;
  if (exitCode !== 0) throw new Error(`bb ${args.join(" ")}: status ${exitCode}\n${stderr}`);
  peaks.push(resourceUsage.maxRSS / 1e6);
  return ms;
}

async function list(): Promise<Sample[]> {
  const store = place();
  fill(store);
  const samples = await interleave(
    [
      { name: "bb images", once: () => bb(store, "images") },
      { name: "bb images -q", once: () => bb(store, "images", "-q") },
      { name: "by label", once: () => bb(store, "images", "--filter", "label=tier=7") },
      { name: "bb version", once: () => bb(store, "version") },
    ],
    Math.max(runs, 15),
  );
  print(`images, with ${IMAGES} of them`, samples);
  const ms = samples[0]?.median ?? Number.NaN;
  console.log(
    `  bb images, ms = ${ms.toFixed(1)}   target <= ${TARGET_LIST_MS}: ${ms <= TARGET_LIST_MS ? "met" : "MISSED"}`,
  );
  return samples;
}

/** Rows of images without files. */
function fill(store: string): void {
  const { database } = openEngine({ root: join(store, "lib"), runRoot: join(store, "run") });
  const digest = (text: string) => new Bun.CryptoHasher("sha256").update(text).digest("hex");
  const image = database.query("INSERT INTO image VALUES (?, 'pulled', ?, 'linux/amd64', ?, ?, ?, ?)");
  const name = database.query("INSERT INTO image_name VALUES (?, ?, ?, ?, 'linux/amd64')");
  database.transaction(() => {
    for (let at = 0; at < IMAGES; at++) {
      const [id, manifest] = [`sha256:${digest(`image ${at}`)}`, `sha256:${digest(`manifest ${at}`)}`];
      const layers = Array.from({ length: 8 }, (_, layer) => digest(`layer ${at} ${layer}`)).join(" ");
      const config = { env: ["PATH=/usr/bin:/bin"], cmd: ["/bin/sh"], labels: [["tier", String(at % 10)]] };
      const created = new Date(1.7e12 + at * 1e7).toISOString();
      image.run(id, manifest, created, 1e8 + at, JSON.stringify(config), layers);
      const repository = `registry.example.org/team/app${at % 100}`;
      name.run(`${repository}:${at}`, repository, id, manifest);
    }
  })();
  database.close();
}

async function save(): Promise<Sample[]> {
  const layout = debianImage();
  time(["skopeo", "copy", "--quiet", `oci:${layout}:latest`, `oci-archive:${archive}:debian:4`]);
  const store = place();
  bb(store, "load", "-q", "-i", archive);
  const subjects: Subject[] = [
    { name: "bb", once: () => bb(store, "save", "-o", join(place(), "a.tar"), "debian:4") },
    {
      name: "skopeo",
      once: () =>
        time(["skopeo", "copy", "--quiet", `oci:${layout}:latest`, `oci-archive:${join(place(), "a.tar")}:x`]),
    },
  ];
  const podman = usePodman(place());
  if (podman !== undefined) {
    time([...podman, "load", "-q", "-i", archive]);
    const once = () => time([...podman, "save", "-q", "-o", join(place(), "a.tar"), "debian:4"]);
    subjects.push({ name: "podman", once });
  }
  const samples = await interleave(subjects, runs);
  print("save of a Debian image: 4 layers, 400 MB", samples);
  if (podman !== undefined) time([...podman, "rmi", "-af"]);
  return samples;
}

async function load(): Promise<Sample[]> {
  const subjects: Subject[] = [{ name: "bb", once: () => bb(place(), "load", "-q", "-i", archive) }];
  if (usePodman(directory) !== undefined) {
    subjects.push({
      name: "podman",
      once: () => {
        const podman = usePodman(place()) ?? [];
        const ms = time([...podman, "load", "-q", "-i", archive]);
        time([...podman, "rmi", "-af"]);
        return ms;
      },
    });
  }
  if (Bun.which("umoci") !== null) {
    subjects.push({
      name: "skopeo, umoci",
      once: () => {
        const path = place();
        const first = time(["skopeo", "copy", "--quiet", `oci-archive:${archive}`, `oci:${join(path, "oci")}:x`]);
        return first + time(["umoci", "unpack", "--image", `${join(path, "oci")}:x`, join(path, "bundle")]);
      },
    });
  }
  const samples = await interleave(subjects, runs);
  print("load of a Debian image: 4 layers, 400 MB", samples);
  return samples;
}

/** podman with a store of its own, or nothing where there is none. */
function usePodman(store: string): string[] | undefined {
  if (Bun.which("podman") === null) return undefined;
  const roots = ["--root", join(store, "pod"), "--runroot", join(store, "podrun")];
  return ["podman", ...roots, "--storage-driver", "overlay"];
}

function print(title: string, samples: readonly Sample[]): void {
  console.log(`\n${title} (ms)`);
  for (const { name, median, p10, p90, runs: count } of samples) {
    const numbers = [median, p10, p90].map((value) => value.toFixed(1).padStart(10)).join("");
    console.log(`  ${name.padEnd(14)}${numbers}   median, p10, p90 of ${count}`);
  }
  const [first, ...others] = samples;
  const [fastest] = others.toSorted((a, b) => a.median - b.median);
  if (first === undefined || fastest === undefined) return;
  console.log(`  ${first.name} / ${fastest.name} = ${(first.median / fastest.median).toFixed(2)}`);
}
