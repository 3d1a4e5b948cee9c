import { fstatSync, readSync } from "node:fs";
import { BoxError, existsSync } from "@bantubox/ffi";
import { explainFailure } from "../../runtime/explain.ts";
import { forgetAll } from "../kept/keep-start.ts";
import { findContainer, readSpec } from "../state/container.ts";
import { containerDirectory, openEngine } from "../state/engine.ts";
import { recordFailure } from "../state/failed-start.ts";
import { removeRows } from "../state/rows.ts";

/**
 * `bb internal failed ROOT RUNROOT ID KIND SECTION STEP ERRNO FD`: the trampoline executes it when a start
 * or an exec failed and nobody who knows words is left. The monitor has cleared up already.
 *
 * @param args KIND is `first` or `again` for a container's first or another start, `exec` for an exec.
 * @throws {BoxError} Always: what failed.
 */
export function internalFailed(args: readonly string[]): never {
  const [root, runRoot, id = "", kind, ...numbers] = args;
  const [section, step, errno, fd] = numbers.map(Number);
  if (section === undefined || step === undefined || errno === undefined || fd === undefined) {
    throw new BoxError("usage", 'Cannot explain a failure: "bb internal failed" is for the trampoline');
  }
  const plan = readAll(fd);
  const engine = openEngine({ root, runRoot });
  const container = findContainer(engine, id);
  let spec: ReturnType<typeof readSpec> | undefined;
  try {
    spec = container && readSpec(engine, container);
  } catch (error) {
    // Gone with a --rm container: the plan alone tells enough.
    if (!(error instanceof BoxError)) throw error;
  }
  // It may have been a plan that was kept while the host changed.
  forgetAll(engine);
  // An exec fails without its container, which goes on.
  if (container?.autoRemove && !existsSync(containerDirectory(engine, container.id))) removeRows(engine, container.id);
  const failure = explainFailure(plan, { section, step, errno }, spec);
  if (kind !== "exec") recordFailure(engine, id, kind === "first", failure);
  throw failure;
}

function readAll(fd: number): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(fstatSync(fd).size));
  let at = 0;
  while (at < bytes.length) {
    const n = readSync(fd, bytes, at, bytes.length - at, at);
    if (n === 0) break;
    at += n;
  }
  return bytes;
}
