import { isErrno } from "@bantubox/ffi";
import { buildFact, nodeFact, openFiles, textFact, thawedFacts } from "@bantubox/ffi/facts";
import { type EnterLine, encodeLine, type Fact, lineName, type MakeLine, wordBytes } from "@bantubox/ffi/line";
import { findImage, markImages } from "@bantubox/image";
import { PASSED_FD } from "../../runtime/become.ts";
import { RECORD } from "../../runtime/records.ts";
import type { ContainerOptions } from "../create/options.ts";
import { BOOT_ID } from "../state/boot.ts";
import { containerDirectory, type Engine, runDirectory } from "../state/engine.ts";
import { recordText } from "../state/rowless.ts";
import { plansDirectory } from "./keep-start.ts";
import type { KeptExec } from "./kept-exec.ts";
import { NOT_KEPT, writeWhole } from "./kept-file.ts";
import type { KeptStart, StartKey } from "./kept-start.ts";

/**
 * Command lines that were carried out, for the front of the executable
 * (ffi/c/front.c): it compares every fact that this writes down, and carries the
 * same line out without Bun. What it cannot compare is not remembered.
 */

/** Remembers a `run` whose plan is kept. Those on the bridge need a row, and so Bun. */
export function rememberRun(
  engine: Engine,
  words: readonly string[],
  options: ContainerOptions,
  key: StartKey,
  kept: KeptStart,
): void {
  if (kept.bridge !== undefined) return;
  const facts: Fact[] = [...storeFacts(engine), ...key.facts];
  const { container } = kept;
  if (container.image.startsWith("sha256:")) {
    const mark = markImages(engine, () => findImage(engine, options.image)?.id === container.image);
    if (mark === undefined) return;
    facts.push({ kind: "text", path: mark.path, detail: "", value: mark.text, isLate: true });
  }
  write(engine, {
    kind: "make",
    skeleton: wordBytes(words),
    facts,
    holes: [{ index: "fresh", text: container.id }],
    directory: containerDirectory(engine, container.id),
    mode: 0o700,
    subdirectories: ["rootfs", "upper", "work"],
    files: [
      ["config.json", kept.config],
      ["container.json", recordText(container)],
    ],
    plan: kept.plan,
    passed: PASSED_FD,
    nofile: openFiles(),
  });
}

/** Remembers an `exec` whose plan is kept, into a container whose name is. */
export function rememberExec(
  engine: Engine,
  words: readonly string[],
  text: string,
  kept: Omit<KeptExec, "pidfd">,
): void {
  const { id } = kept;
  const facts: Fact[] = [
    ...storeFacts(engine),
    buildFact(),
    textFact("/proc/self/limits", "Max open files"),
    { kind: "link", path: `${engine.runRoot}/names/${text}`, detail: "", value: id },
    ...thawedFacts(kept.freezers),
  ];
  write(engine, {
    kind: "enter",
    skeleton: wordBytes(words),
    facts,
    holes: [],
    record: `${runDirectory(engine, id)}/${RECORD.pid}`,
    plan: kept.plan,
    passed: PASSED_FD,
    nofile: openFiles(),
  });
}

/** What openEngine has looked at: who may write there, and whether the run directory is of this boot. */
function storeFacts({ root, runRoot }: Engine): Fact[] {
  return [nodeFact(root, "up"), nodeFact(runRoot, "up"), textFact(`${runRoot}/boot`), textFact(BOOT_ID)];
}

function write(engine: Engine, line: MakeLine | EnterLine): void {
  try {
    writeWhole(plansDirectory(engine), lineName(line.skeleton), encodeLine(line));
  } catch (error) {
    // Forgotten by another command meanwhile, or no room: the next one is carried out by Bun again.
    if (!isErrno(error, ...NOT_KEPT)) throw error;
  }
}
