import { setImmediate } from "node:timers/promises";
import { BoxError, cstr } from "@bantubox/ffi";
import { TarWriter } from "../tar/tar-writer.ts";
import { isWhiteout } from "./overlay-marks.ts";
import { display, isOpaque, openDirectory, readNames, S, statAt } from "./tree.ts";

const ITSELF = cstr("");
const RESERVED = Buffer.from(".wh.");
/** How long the event loop may stand still, in milliseconds: timers, progress bars and aborts live on it. */
const BREATH_MS = 50;

/**
 * A layer's directory as the layer's tar stream: names sorted by their bytes, overlay's whiteouts and opaque
 * directories by the names that layers have for them. The same bytes each time, so a layer that was made here needs no
 * second copy: its blob is made again when someone wants it.
 *
 * @throws {BoxError} `layer-whiteout` when a file has a name that would delete another in a layer.
 */
export function archiveTree(directory: string): AsyncGenerator<Uint8Array> {
  return archive(directory, new TarWriter());
}

/**
 * As `archiveTree`, of what lies in the store, where nobody changes it; a chunk is good until the next is asked for.
 *
 * @throws As `archiveTree`.
 */
export function archiveStored(directory: string): AsyncGenerator<Uint8Array> {
  return archive(directory, new TarWriter({ isStill: true, reuses: true }));
}

async function* archive(directory: string, writer: TarWriter): AsyncGenerator<Uint8Array> {
  let breath = performance.now();
  for (const chunk of chunks(directory, writer)) {
    yield chunk;
    if (performance.now() - breath < BREATH_MS) continue;
    await setImmediate();
    breath = performance.now();
  }
}

function* chunks(directory: string, writer: TarWriter): Generator<Uint8Array> {
  using root = openDirectory(undefined, cstr(directory), JSON.stringify(directory));

  function* entries(fd: number, path: Buffer): Generator<Uint8Array> {
    for (const name of readNames(fd, display(path))) {
      const stat = statAt(fd, name, display(name));
      const bare = name.subarray(0, -1);
      if (isWhiteout(stat)) {
        yield* writer.hide(path, bare);
        continue;
      }
      const below = Buffer.concat([path, bare]);
      refuseReserved(bare, below);
      yield* writer.add({ parent: fd, name, stat, path: below });
      if ((stat.mode & S.FMT) !== S.DIR) continue;
      using child = openDirectory(fd, name, display(name));
      const slashed = Buffer.concat([below, Buffer.from("/")]);
      if (isOpaque(fd, name)) yield* writer.hide(slashed, undefined);
      yield* entries(child.raw, slashed);
    }
  }

  const stat = statAt(root.raw, ITSELF, JSON.stringify(directory));
  yield* writer.add({ parent: root.raw, name: ITSELF, stat, path: Buffer.alloc(0) });
  yield* entries(root.raw, Buffer.alloc(0));
  yield* writer.end();
}

/** @throws {BoxError} `layer-whiteout` when a layer would read the name of a file as another's deletion. */
export function refuseReserved(name: Uint8Array, path: Buffer): void {
  if (name.length < RESERVED.length || !RESERVED.equals(name.subarray(0, RESERVED.length))) return;
  throw new BoxError("layer-whiteout", `Cannot make a layer with ${display(path)}: in it that means a deleted file`, {
    hint: 'Rename it: no name in an image may begin with ".wh."',
  });
}
