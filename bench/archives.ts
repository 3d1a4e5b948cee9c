/**
 * Measures `bb load`, `save`, `push` and `commit` with a Debian image of four layers and 400 MB against whatever engines
 * this host has, and `bb images` with a thousand images, in interleaved runs. Run it as root, on a quiet machine.
 *
 *     bun bench/archives.ts [--only PART[,PART…]] [--runs N] [--directory DIR] [--json FILE]
 *
 * The parts are images, load, save, push, push-made and commit.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openEngine } from "../packages/core/src/mod.ts";
import { startRegistry } from "../test/docker-registry.ts";
import { ARCHIVE_PEERS, type ArchivePeer, type Engine, ours } from "./archive-peers.ts";
import { debianImage } from "./debian-image.ts";
import { interleave, type Sample, type Subject, time } from "./measure.ts";

const BB = process.env["BB"] ?? join(import.meta.dir, "../dist/bb");
const IMAGES = 1000;
const TARGET_LIST_MS = 40;
const TARGET_MEMORY_MB = 150;
const PARTS = ["images", "load", "save", "push", "push-made", "commit"] as const;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    runs: { type: "string", default: "5" },
    directory: { type: "string", default: tmpdir() },
    json: { type: "string" },
  },
});
const runs = Number(values.runs);
if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs takes a number from 1, not "${values.runs}"`);
const wanted: ReadonlySet<string> = new Set(values.only?.split(",") ?? PARTS);
for (const name of wanted.difference(new Set(PARTS)))
  throw new Error(`--only takes ${PARTS.join(", ")}, not "${name}"`);

const directory = mkdtempSync(join(values.directory, "bb-bench-"));
const peaks: number[] = [];
let places = 0;
try {
  const results = {
    ...(wanted.has("images") && { images: await list() }),
    ...(wanted.size > (wanted.has("images") ? 1 : 0) && (await measure(makeFixture()))),
  };
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

/** What the engines read. */
interface Fixture {
  readonly layout: string;
  /** An OCI archive of gzip layers, and Docker's of plain ones. */
  readonly compressed: string;
  readonly plain: string;
  /** Debian's base system, and 12,000 small files that a container is changed by: plain tar archives. */
  readonly base: string;
  readonly changes: string;
}

function makeFixture(): Fixture {
  const layout = debianImage();
  const path = (name: string) => join(directory, name);
  const [compressed, plain, base, changes] = [
    path("oci.tar"),
    path("docker.tar"),
    path("base.tar"),
    path("changes.tar"),
  ];
  time(["skopeo", "copy", "--quiet", `oci:${layout}:latest`, `oci-archive:${compressed}:docker.io/library/debian:4`]);
  time(["skopeo", "copy", "--quiet", `oci:${layout}:latest`, `docker-archive:${plain}:debian:4`]);
  const read = (file: string) => JSON.parse(readFileSync(join(layout, file), "utf8"));
  const hex = (digest: string) => digest.slice("sha256:".length);
  const { layers } = read(`blobs/sha256/${hex(read("index.json").manifests[0].digest)}`);
  for (const [at, tar] of [
    [0, base],
    [-1, changes],
  ] as const) {
    time(["sh", "-c", `gzip -dc '${join(layout, "blobs/sha256", hex(layers.at(at).digest))}' > '${tar}'`]);
  }
  return { layout, compressed, plain, base, changes };
}

async function measure(fixture: Fixture): Promise<Record<string, Sample[]>> {
  const { layout, compressed, plain, base, changes } = fixture;
  const onEnd = ({ maxRSS }: Bun.ResourceUsage) => void peaks.push(maxRSS / 1e6);
  const start = async (): Promise<Engine> => ours(BB, place(), onEnd);
  const peers = ARCHIVE_PEERS.filter(({ name, needs }) => {
    const absent = needs.find((program) => Bun.which(program) === null);
    if (absent !== undefined) console.log(`not measured: ${name} (no ${absent} here)`);
    return absent === undefined;
  });
  const results: Record<string, Sample[]> = {};
  const compare = async (title: string, subjects: readonly Subject[]) => {
    results[title] = await interleave(subjects, runs);
    print(title, results[title]);
  };

  const loads = (archive: string) => (peer: Pick<ArchivePeer, "name" | "start">) => ({
    name: peer.name,
    once: async () => {
      await using engine = await peer.start(place());
      return engine.load(archive);
    },
  });
  const self = { name: "bb", start, readsOci: true };
  if (wanted.has("load")) {
    await compare("load of plain layers", [self, ...peers].map(loads(plain)));
    await compare("load of gzip layers", [
      ...[self, ...peers].filter(({ readsOci }) => readsOci).map(loads(compressed)),
      {
        name: "skopeo, umoci",
        once: () => {
          const path = place();
          const first = time(["skopeo", "copy", "--quiet", `oci-archive:${compressed}`, `oci:${join(path, "oci")}:x`]);
          return first + time(["umoci", "unpack", "--image", `${join(path, "oci")}:x`, join(path, "bundle")]);
        },
      },
    ]);
  }

  await using stack = new AsyncDisposableStack();
  const open = async (begin: Promise<Engine>, archive: string): Promise<Engine> => {
    const engine = stack.use(await begin);
    engine.load(archive);
    return engine;
  };
  const bb = await open(start(), compressed);
  const others: Engine[] = [];
  for (const peer of peers) others.push(await open(peer.start(place()), peer.readsOci ? compressed : plain));
  const skopeo = (name: string, from: string, to: () => string) => ({
    name,
    once: () => time(["skopeo", "copy", "--quiet", from, to()]),
  });

  if (wanted.has("save")) {
    await compare("save", [
      ...[bb, ...others].map((engine) => ({
        name: engine.name,
        once: () => engine.save("debian:4", join(place(), "a.tar")),
      })),
      skopeo("skopeo", `oci:${layout}:latest`, () => `oci-archive:${join(place(), "a.tar")}:x`),
    ]);
  }

  const pushed = (name: string, push: (destination: string) => number) => ({
    name,
    once: async () => {
      await using registry = await startRegistry();
      return push(`${registry.host}/pushed:1`);
    },
  });
  const pushes = (engine: Engine, image: string) => pushed(engine.name, (to) => engine.push(image, to));
  const copies = (from: string) =>
    pushed("skopeo", (to) => time(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", from, `docker://${to}`]));
  if (wanted.has("push")) {
    // docker and podman keep no layers as they came: whatever they push, they compress.
    await compare("push of 4 layers that came from a registry", [
      ...[bb, ...others].map((engine) => pushes(engine, "debian:4")),
      copies(`oci:${layout}:latest`),
    ]);
  }
  if (wanted.has("push-made")) await pushMade();
  if (wanted.has("commit")) {
    let images = 0;
    await compare(
      "commit of 12,000 files, 98 MB",
      [bb, ...others].flatMap(({ name, commit }) =>
        commit === undefined ? [] : [{ name, once: () => commit("debian:4", changes, `changed:${images++}`) }],
      ),
    );
  }
  return results;

  async function pushMade(): Promise<void> {
    const makers = [bb, ...others].filter((engine) => engine.import !== undefined);
    for (const engine of makers) engine.import?.(base, "base:1");
    const archive = join(place(), "base.tar");
    bb.save("base:1", archive);
    await compare("push of a layer that was made here, 170 MB", [
      ...makers.map((engine) => pushes(engine, "base:1")),
      copies(`docker-archive:${archive}`),
    ]);
  }
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
  if (fastest.name === "bb version") return;
  const ratio = first.median / fastest.median;
  const verdict = ratio <= 1 ? "met" : "MISSED";
  console.log(`  ${first.name} / ${fastest.name}, the fastest = ${ratio.toFixed(2)}   target <= 1: ${verdict}`);
}
