import { inspect, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { escapeJson } from "../escape.ts";
import { report } from "../fail.ts";
import { printLine } from "../output.ts";
import { parseTemplate } from "../template.ts";
import { usageError } from "../usage.ts";

function parseType(text: string): "container" | "image" {
  if (text === "container" || text === "image") return text;
  throw usageError(
    `Cannot inspect a ${JSON.stringify(text)}: there is no such type`,
    "The types are container and image",
  );
}

export default defineCommand({
  name: "inspect",
  summary: "Print everything about containers and images as JSON",
  operands: { usage: "NAME [NAME...]", min: 1 },
  flags: {
    format: {
      type: "string",
      short: "f",
      value: "TEMPLATE",
      description: "Print by a template such as {{.State.Pid}}",
    },
    type: {
      type: "string",
      value: "container|image",
      parse: parseType,
      description: "Only a container, or only an image",
    },
  },
  examples: ["bb inspect web", "bb inspect -f '{{.State.Pid}}' web", "bb inspect -f '{{json .Config.Labels}}' debian"],
  async run({ flags: { format, type }, operands, globals, group }) {
    const template = format === undefined || format === "json" ? undefined : parseTemplate(format);
    const engine = openEngine(globals);
    const kind = type ?? (group === "container" || group === "image" ? group : undefined);
    const found: object[] = [];
    let status = 0;
    for (const name of operands) {
      try {
        const object = await inspect(engine, name, kind);
        if (template === undefined) found.push(object);
        else printLine(template(object));
      } catch (error) {
        status = await report(error, { debug: globals.debug });
      }
    }
    if (template === undefined) printLine(escapeJson(found, format === "json" ? undefined : 4));
    return status;
  },
});
