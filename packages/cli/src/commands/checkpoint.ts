import { checkpointContainer, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { printLine } from "../output.ts";
import { writeStream } from "../stream-output.ts";

export default defineCommand({
  name: "checkpoint",
  summary: "Save a running container as it is, and end it",
  operands: { usage: "CONTAINER", min: 1, max: 1 },
  flags: {
    export: {
      type: "string",
      short: "e",
      value: "FILE",
      mayBeEmpty: true,
      description: "Write it into a tar archive, with all its files",
    },
    "leave-running": { type: "boolean", short: "R", description: "Let the container go on" },
    "tcp-established": { type: "boolean", description: "Save open TCP connections, too" },
    "file-locks": { type: "boolean", description: "Save locks of files, too" },
    criu: { type: "string", value: "FILE", description: "CRIU's program (default: criu)" },
  },
  examples: ["bb checkpoint web", "bb checkpoint --leave-running --export web.tar web"],
  async run({ flags, operands: [name = ""], globals }) {
    const file = flags.export;
    const id = await checkpointContainer(openEngine(globals), name, {
      leaveRunning: flags["leave-running"] === true,
      tcpEstablished: flags["tcp-established"] === true,
      fileLocks: flags["file-locks"] === true,
      criu: flags.criu,
      export: file === undefined ? undefined : (archive) => writeStream(archive, file, "checkpoint", true),
    });
    printLine(id);
    return 0;
  },
});
