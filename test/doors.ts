/** The doors through which archives of strangers come in and are unpacked. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import {
  dockerFiles,
  type FixtureImage,
  layoutFiles,
  Place,
  tarFiles,
} from "../packages/image/src/archive/archive-fixture.ts";
import { publish, type TestRegistry } from "../packages/image/src/registry/registry-fixture.ts";
import { tarOf } from "../packages/image/src/tar/tar-fixture.ts";
import { idsIn, type Result, run, type Store } from "./harness.ts";
import { imageTree, treeOf } from "./image-tree.ts";

export const DOORS = ["pull", "load a docker-archive", "load an OCI archive", "import", "cp"] as const;
export type Door = (typeof DOORS)[number];

/** Those that take several layers, and read what layers delete. */
export const IMAGE_DOORS = DOORS.filter((door) => door !== "import" && door !== "cp");

/** What `import` and `load` call the image. */
const NAME = "docker.io/library/hostile:v1";

let counter = 0;

/** Puts an image of these layers into the registry. @returns Its name, and how to pull it. */
export function serve(registry: TestRegistry, layers: readonly Uint8Array[], config: object = {}): string {
  const path = `hostile/image${counter++}:v1`;
  publish(registry, path, layers, { config });
  return `${registry.domain}/${path}`;
}

export interface Delivery {
  readonly registry: TestRegistry;
  /** Archives of the layers; `import` and `cp` take one. */
  readonly layers: readonly Uint8Array[];
  /** Whether they are compressed also where they need not be. */
  readonly compress?: boolean;
  /** Directories that a container has before `cp` fills it. */
  readonly directories?: readonly string[];
}

/** A command that waits to be called, and what it will have made. */
export interface Delivered extends Disposable {
  /** For `run`: a shell that executes `bb`. */
  readonly command: readonly string[];
  /** The image's or the container's name. */
  readonly name: string;
  /** What came of it, file by file and without times: of a container only what is its own. */
  tree(): Promise<string[]>;
}

/** Has the archives where `door` will look for them. */
export async function deliver(
  store: Store,
  door: Door,
  { registry, layers, compress = false, directories = [] }: Delivery,
): Promise<Delivered> {
  const place = new Place();
  const image: FixtureImage = { layers, ...(compress && { compress: "gzip" }) };
  const first = compress ? Bun.gzipSync(Buffer.from(layers[0] ?? "")) : (layers[0] ?? Buffer.alloc(0));
  const bb = (...words: string[]): string[] => [...store.command, ...words];
  const ready = (name: string, command: readonly string[], tree = () => imageTree(store, name, { times: false })) => ({
    name,
    command,
    tree,
    [Symbol.dispose]: () => place[Symbol.dispose](),
  });
  switch (door) {
    case "pull": {
      const name = serve(registry, layers);
      return ready(name, bb("pull", "--quiet", name));
    }
    case "load a docker-archive": {
      const path = place.file("hostile.tar", tarFiles(dockerFiles(image, ["hostile:v1"])));
      return ready(NAME, bb("load", "--quiet", "--input", path));
    }
    case "load an OCI archive": {
      const path = place.file("hostile.tar", tarFiles(layoutFiles(image, NAME)));
      return ready(NAME, bb("load", "--quiet", "--input", path));
    }
    case "import":
      return ready(NAME, bb("import", place.file("hostile.tar", first), "hostile:v1"));
    case "cp": {
      const base = tarOf(...directories.map((name) => ({ name, type: "5" })));
      await store.ok(["import", place.file("base.tar", base), "base:v1"]);
      await store.ok(["create", "--name", "box", "--network", "none", "base:v1", "/none"]);
      const [id = ""] = idsIn(join(store.root, "containers"));
      const upper = join(store.root, "containers", id, "upper");
      const script = ['exec "$@" <"$0"', place.file("hostile.tar", first), ...bb("cp", "-", "box:/")];
      return ready("box", ["/bin/sh", "-c", ...script], async () => {
        const lines = await treeOf(upper, { times: false });
        return lines.map((line) => line.replaceAll(/ trusted\.overlay\.\S+/g, ""));
      });
    }
  }
}

/** Brings archives in. */
export async function bring(store: Store, door: Door, delivery: Delivery): Promise<Delivered & { result: Result }> {
  const delivered = await deliver(store, door, delivery);
  return { ...delivered, result: await run(delivered.command) };
}

/** Layers in a store, which should have those of its images only. */
export function layersIn(store: Store): string[] {
  const path = join(store.root, "layers");
  return existsSync(path) ? readdirSync(path) : [];
}
