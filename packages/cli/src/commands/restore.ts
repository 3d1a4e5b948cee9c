import { importCheckpoint, openEngine, restoreContainer } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { forEachName } from "../each.ts";
import { printLine } from "../output.ts";
import { usageError } from "../usage.ts";

export default defineCommand({
  name: "restore",
  summary: "Let containers go on where their checkpoints were made",
  operands: { usage: "[CONTAINER...]", min: 0 },
  flags: {
    import: {
      type: "string",
      short: "i",
      value: "FILE",
      mayBeEmpty: true,
      description: "Make a new container of an exported checkpoint",
    },
    name: {
      type: "string",
      short: "n",
      value: "NAME",
      description: "Name of the imported container (default: as it was)",
    },
    keep: { type: "boolean", short: "k", description: "Keep the checkpoint for another time" },
    "tcp-established": { type: "boolean", description: "Restore open TCP connections, too" },
    criu: { type: "string", value: "FILE", description: "CRIU's program (default: criu)" },
  },
  examples: ["bb restore web", "bb restore --import web.tar --name web2"],
  async run({ flags, operands, globals }) {
    const engine = openEngine(globals);
    const options = {
      keep: flags.keep === true,
      tcpEstablished: flags["tcp-established"] === true,
      criu: flags.criu,
    };
    if (flags.import !== undefined) {
      if (operands.length > 0) throw usageError("Cannot restore a container and import one at once: use one of them");
      printLine(await importCheckpoint(engine, flags.import, { ...options, name: flags.name }));
      return 0;
    }
    if (flags.name !== undefined) throw usageError("Cannot rename a container by restoring it: --name is for --import");
    if (operands.length === 0) throw usageError("Cannot restore nothing: name a container, or a file with --import");
    return await forEachName(operands, globals, async (name) => {
      await restoreContainer(engine, name, options);
      return name;
    });
  },
});
