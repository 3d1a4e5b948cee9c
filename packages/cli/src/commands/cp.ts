import { resolve } from "node:path";
import { isatty } from "node:tty";
import {
  archiveFromContainer,
  copyFromContainer,
  copyToContainer,
  extractToContainer,
  openEngine,
} from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { escapeText } from "../escape.ts";
import { formatSize } from "../format.ts";
import { say } from "../message.ts";
import { writeOut } from "../output.ts";
import { writeStream } from "../stream-output.ts";
import { usageError } from "../usage.ts";

interface Operand {
  /** Undefined for a path of this machine. */
  readonly container: string | undefined;
  readonly path: string;
}

export default defineCommand({
  name: "cp",
  summary: "Copy files between a container and this machine",
  operands: { usage: "CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH", min: 2, max: 2 },
  flags: {
    archive: { type: "boolean", short: "a", description: "Keep owners, and what makes programs privileged" },
    "follow-link": { type: "boolean", short: "L", description: "If the source is a link, copy what it leads to" },
    quiet: { type: "boolean", short: "q", description: "Do not say how much was copied (default without a terminal)" },
  },
  examples: [
    "bb cp web:/etc/nginx ./nginx",
    "bb cp site/. web:/srv",
    "bb cp web:/var/log - | tar -t",
    "bb cp - web:/ < files.tar",
  ],
  async run({ flags: { archive, "follow-link": followLink, quiet = !isatty(1) }, operands, globals }) {
    // Resolved, an empty path would be the directory that the caller is in.
    if (operands.includes(""))
      throw usageError(`Cannot copy: the ${operands[0] === "" ? "source" : "target"} is empty`);
    const [from, to] = operands.map(parseOperand) as [Operand, Operand];
    const engine = openEngine(globals);
    const view = quiet ? undefined : showBytes();
    const options = {
      archive,
      followLink,
      onProgress: view?.onProgress,
      onSkipped: (path: Buffer, what: string) =>
        say("warn", `Left out ${escapeText(JSON.stringify(path.toString()))}: it is ${what}`),
    };
    let bytes: number;
    if (from.container !== undefined && to.container !== undefined) {
      throw usageError(
        "Cannot copy from one container to another",
        'Copy by way of a pipe: "bb cp a:/x - | bb cp - b:/"',
      );
    } else if (from.container !== undefined) {
      bytes =
        to.path === "-"
          ? await writeStream(archiveFromContainer(engine, from.container, from.path, options), undefined, "copy")
          : await copyFromContainer(engine, from.container, from.path, onHost(to.path), options);
    } else if (to.container !== undefined) {
      bytes =
        from.path === "-"
          ? await extractToContainer(engine, Bun.stdin.stream(), to.container, to.path, options)
          : await copyToContainer(engine, onHost(from.path), to.container, to.path, options);
    } else {
      throw usageError(
        "Cannot copy: neither path is in a container",
        'Write "CONTAINER:PATH" for one that is, and "./" before a name with a colon that is not',
      );
    }
    view?.done(`Successfully copied ${formatSize(bytes)} to ${escapeText(operands[1] ?? "")}`);
    return 0;
  },
});

/** As Docker reads it: what begins with `/` or `.` is a path of this machine, whatever colons it has. */
export function parseOperand(text: string): Operand {
  const colon = text.indexOf(":");
  if (colon < 1 || /^[./]/.test(text)) return { container: undefined, path: text };
  return { container: text.slice(0, colon), path: text.slice(colon + 1) || "/" };
}

/** Absolute; whether it ends in `/` or `/.` makes a difference and stays. */
function onHost(path: string): string {
  const absolute = resolve(path);
  const end = /(?:^|\/)\.$/.test(path) ? "/." : path.endsWith("/") ? "/" : "";
  return absolute === "/" ? (end === "/." ? "/." : "/") : absolute + end;
}

/** How long a copy goes on before it is worth a line, in milliseconds, and how often that is drawn. */
const QUIET_MS = 500;
const REDRAW_MS = 100;

function showBytes(): { onProgress: (bytes: number) => void; done: (text: string) => void } {
  let drawnMs = performance.now() + QUIET_MS;
  let isDrawn = false;
  return {
    onProgress(bytes) {
      const nowMs = performance.now();
      if (!isatty(2) || nowMs - drawnMs < REDRAW_MS) return;
      drawnMs = nowMs;
      isDrawn = true;
      writeOut(`\rCopying: ${formatSize(bytes)}\x1b[K`, 2);
    },
    done: (text) => writeOut(`${isDrawn ? "\r\x1b[K" : ""}${text}\n`, 2),
  };
}
