import { getVolume, openEngine } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { escapeJson } from "../../escape.ts";
import { report } from "../../fail.ts";
import { printLine } from "../../output.ts";
import { parseTemplate } from "../../template.ts";

export default defineCommand({
  name: "volume inspect",
  summary: "Print everything about volumes as JSON",
  operands: { usage: "VOLUME [VOLUME...]", min: 1 },
  flags: {
    format: {
      type: "string",
      short: "f",
      value: "TEMPLATE",
      description: "Print by a template such as {{.Mountpoint}}",
    },
  },
  examples: ["bb volume inspect data", "bb volume inspect -f '{{.Mountpoint}}' data"],
  async run({ flags: { format }, operands, globals }) {
    const template = format === undefined || format === "json" ? undefined : parseTemplate(format);
    const engine = openEngine(globals);
    const found: object[] = [];
    let status = 0;
    for (const name of operands) {
      try {
        const { mountpoint, createdMs, isAnonymous } = await getVolume(engine, name);
        const volume = {
          CreatedAt: new Date(createdMs).toISOString(),
          Driver: "local",
          // Docker's own label for those that nobody has named.
          Labels: isAnonymous ? { "com.docker.volume.anonymous": "" } : {},
          Mountpoint: mountpoint,
          Name: name,
          Options: {},
          Scope: "local",
        };
        if (template === undefined) found.push(volume);
        else printLine(template(volume));
      } catch (error) {
        status = await report(error, { debug: globals.debug });
      }
    }
    if (template === undefined) printLine(escapeJson(found, format === "json" ? undefined : 4));
    return status;
  },
});
