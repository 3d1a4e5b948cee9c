/**
 * Measures `bb pull` against whatever engines this host has: a Debian image of four layers and 400 MB with very many
 * small files, from Debian's docker-registry on loopback, in one interleaved run; then its memory with a layer of 1 GiB.
 * Run it as root, on a quiet machine.
 *
 *     bun bench/images.ts [--runs N] [--directory DIR] [--peer NAME]... [--json FILE]
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startRegistry } from "../test/docker-registry.ts";
import { debianImage } from "./debian-image.ts";
import { largeImage } from "./large-image.ts";
import { interleave, type Sample, type Subject, time } from "./measure.ts";
import { PULL_PEERS, type PullPeer } from "./pull-peers.ts";

const BB = process.env["BB"] ?? join(import.meta.dir, "../dist/bb");
/** At most this much of the fastest peer's time. */
const TARGET = 0.5;
const TARGET_AGAIN_MS = 50;
const LARGE_BYTES = 2 ** 30;
const TARGET_MEMORY_MB = 150;

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    directory: { type: "string", default: tmpdir() },
    peer: { type: "string", multiple: true },
    json: { type: "string" },
  },
});
const runs = Number(values.runs);
if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs takes a number from 1, not "${values.runs}"`);

const directory = mkdtempSync(join(values.directory, "bb-bench-"));
let places = 0;
try {
  await main();
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function main(): Promise<void> {
  const layout = debianImage();
  await using registry = await startRegistry();
  const image = `${registry.host}/debian:4`;
  publish(layout, image);

  const missing: string[] = [];
  const peers = PULL_PEERS.filter(({ name, needs }) => {
    if (values.peer !== undefined && !values.peer.includes(name)) return false;
    const absent = needs.find((program) => Bun.which(program) === null);
    if (absent !== undefined) missing.push(`${name} (no ${absent} here)`);
    return absent === undefined;
  });
  const peaks: number[] = [];
  const again: number[] = [];
  const samples = await interleave([ours(image, peaks, again), ...peers.map((peer) => theirs(peer, image))], runs);
  for (const line of missing) console.log(`not measured: ${line}`);
  print(samples, peaks, again);
  const large = `${registry.host}/large:1`;
  publish(largeImage(directory, LARGE_BYTES), large);
  const largePeaks: number[] = [];
  await ours(large, largePeaks, []).once();
  verdict("bb's peak memory with a layer of 1 GiB, MB", Math.max(...largePeaks), TARGET_MEMORY_MB);
  const json = JSON.stringify({ runs, directory: values.directory, missing, samples, peaks, again, largePeaks });
  if (values.json !== undefined) writeFileSync(values.json, `${json}\n`);
  else console.log(json);
}

function publish(layout: string, image: string): void {
  time(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", `oci:${layout}:latest`, `docker://${image}`]);
}

/**
 * A new place for each pull. What was pulled before is deleted only at the end of everything: a file system that has
 * just lost 30,000 files is a slow one (ext4 without a journal looks at each freed inode before it takes another).
 */
function place(): string {
  const path = join(directory, String(places++));
  mkdirSync(path);
  return path;
}

function ours(image: string, peaks: number[], again: number[]): Subject {
  return {
    name: "bb",
    once: () => {
      const store = place();
      const command = [BB, "--root", join(store, "lib"), "--run-root", join(store, "run"), "pull", "--quiet", image];
      const before = Bun.nanoseconds();
      const { exitCode, stderr, resourceUsage } = Bun.spawnSync(command, { stdin: "ignore", stdout: "ignore" });
      const ms = (Bun.nanoseconds() - before) / 1e6;
      if (exitCode !== 0) throw new Error(`bb pull: status ${exitCode}\n${stderr}`);
      peaks.push(resourceUsage.maxRSS / 1e6);
      again.push(time(command));
      return ms;
    },
  };
}

function theirs(peer: PullPeer, image: string): Subject {
  return {
    name: peer.name,
    once: async () => {
      await using puller = await peer.start(place());
      return puller.pull(image);
    },
  };
}

function print(samples: readonly Sample[], peaks: readonly number[], again: readonly number[]): void {
  console.log("\npull of a Debian image: 4 layers, 400 MB (ms)");
  for (const { name, median, p10, p90, runs: count } of samples) {
    const numbers = [median, p10, p90].map((value) => value.toFixed(0).padStart(8)).join("");
    console.log(`  ${name.padEnd(14)}${numbers}   median, p10, p90 of ${count}`);
  }
  const [bb, ...others] = samples;
  const [fastest] = others.toSorted((a, b) => a.median - b.median);
  if (bb !== undefined && fastest !== undefined) {
    verdict(`bb / ${fastest.name}, the fastest`, bb.median / fastest.median, TARGET);
  }
  verdict("bb's peak memory, MB", Math.max(...peaks), TARGET_MEMORY_MB);
  verdict(
    "the same pull again, ms at median",
    again.toSorted((a, b) => a - b)[again.length >> 1] ?? Number.NaN,
    TARGET_AGAIN_MS,
  );
}

function verdict(what: string, value: number, target: number): void {
  console.log(`  ${what} = ${value.toFixed(2)}   target <= ${target}: ${value <= target ? "met" : "MISSED"}`);
}
