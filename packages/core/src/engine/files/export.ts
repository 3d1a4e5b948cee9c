import { archiveMerged } from "@bantubox/image/files";
import { getContainer } from "../state/container.ts";
import type { Engine } from "../state/engine.ts";
import { openFiles } from "./container-files.ts";

/**
 * A container's files as a tar stream, whether it runs or not. What is mounted into it is not its own: volumes are left
 * out, and what they cover is in it.
 *
 * @throws {BoxError} `no-such-container`, `in-memory`
 */
export async function* exportContainer(engine: Engine, idOrName: string): AsyncGenerator<Uint8Array> {
  using files = openFiles(getContainer(engine, idOrName), "export");
  // A tree that is complete hides nothing of the one that it began as.
  const lower = files.kind === "tree" ? undefined : files.lower;
  yield* archiveMerged({ lower, upper: files.upper }, { oneMount: true, passed: files.passed });
}
