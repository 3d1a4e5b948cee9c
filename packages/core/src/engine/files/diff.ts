import { BoxError } from "@bantubox/ffi";
import { type Change, treeChanges, upperChanges } from "@bantubox/image/files";
import { getContainer } from "../state/container.ts";
import type { Engine } from "../state/engine.ts";
import { openFiles } from "./container-files.ts";

/** What became of one file of a container since it was made. */
export interface FileChange {
  /** Absolute, in the container. Bytes: not every name is UTF-8. */
  readonly path: Buffer;
  readonly kind: Change["kind"];
}

/**
 * What a container has done to the files of its image, whether it runs or not: sorted, directories of a change among
 * them. What is mounted into it is not its own.
 *
 * @throws {BoxError} `no-such-container`, `in-memory`, `no-origin` for one that writes through to a directory.
 */
export function diffContainer(engine: Engine, idOrName: string): FileChange[] {
  const container = getContainer(engine, idOrName);
  using files = openFiles(container, "compare");
  const { lower, upper, passed } = files;
  if (lower === undefined) {
    throw new BoxError("no-origin", `Cannot compare "${container.name}": it writes through to a directory of the host`);
  }
  const isWhole = container.launch.root.kind === "directory";
  const changes = isWhole ? treeChanges(lower, upper, passed) : upperChanges(lower, upper, passed);
  return changes.map((change) => ({ kind: change.kind, path: Buffer.concat([Buffer.from("/"), change.path]) }));
}
