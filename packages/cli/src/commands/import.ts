import { isatty } from "node:tty";
import { BoxError, importImage, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { printLine } from "../output.ts";
import { usageError } from "../usage.ts";

export default defineCommand({
  name: "import",
  summary: "Make an image of a root file system's tar",
  operands: { usage: "FILE|- [NAME[:TAG]]", min: 1, max: 2 },
  flags: {
    change: {
      type: "list",
      short: "c",
      value: "INSTRUCTION",
      description: "Instruction of a Dockerfile, such as 'CMD [\"/bin/sh\"]' or 'ENV LANG=C.UTF-8'",
    },
    message: { type: "string", short: "m", value: "TEXT", description: "What the image's history says of it" },
    platform: {
      type: "string",
      value: "OS/ARCH",
      description: "What the files are made for (default: this host's platform)",
    },
  },
  examples: ["bb import rootfs.tar.zst mine:1 -c 'CMD [\"/bin/sh\"]'", "bb export web | bb import - web:saved"],
  async run({ flags: { change, message, platform }, operands: [file = "", name], globals }) {
    if (/^https?:\/\//.test(file)) {
      throw usageError(
        `Cannot import ${JSON.stringify(file)}: addresses are not fetched`,
        `Write "curl -f ${file} | bb import -"`,
      );
    }
    if (file === "-" && isatty(0)) {
      throw new BoxError("terminal", "Cannot import from a terminal: an archive is not text", {
        hint: "Redirect standard input, or name a file",
      });
    }
    const id = await importImage(openEngine(globals), file === "-" ? 0 : file, {
      ...(name !== undefined && { name }),
      ...(change !== undefined && { changes: change }),
      ...(message !== undefined && { message }),
      ...(platform !== undefined && { platform }),
    });
    printLine(id);
    return 0;
  },
});
