import { openEngine, readLogs } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { writeOut } from "../output.ts";
import { invalid } from "../usage.ts";
import { parseInteger } from "../values/number.ts";
import { parseMoment } from "../values/time.ts";

function parseTail(text: string, label: string): number | undefined {
  if (text === "all" || text === "-1") return undefined;
  if (!/^[0-9]+$/.test(text)) throw invalid(text, label, 'it is neither a number of lines nor "all"');
  return parseInteger(text, label);
}

const moment = (text: string, label: string): number => parseMoment(text, label);

export default defineCommand({
  name: "logs",
  summary: "Print what a container has written",
  operands: { usage: "CONTAINER", min: 1, max: 1 },
  flags: {
    follow: { type: "boolean", short: "f", description: "Go on until the container ends" },
    tail: {
      type: "string",
      short: "n",
      value: "LINES",
      parse: parseTail,
      description: "Only the last lines (default: all)",
    },
    since: {
      type: "string",
      value: "TIME",
      parse: moment,
      description: "Only what is newer: 10m, or 2006-01-02T15:04:05",
    },
    until: { type: "string", value: "TIME", parse: moment, description: "Only what is older" },
    timestamps: { type: "boolean", short: "t", description: "The time before each line" },
  },
  examples: ["bb logs -f --tail 20 web", "bb logs -t --since 1h web"],
  async run({ flags, operands: [name = ""], globals }) {
    const { follow, tail, since, until, timestamps } = flags;
    const records = readLogs(openEngine(globals), name, {
      ...(follow !== undefined && { follow }),
      ...(tail !== undefined && { tail }),
      ...(since !== undefined && { sinceMs: since }),
      ...(until !== undefined && { untilMs: until }),
    });
    // A long line comes in parts, and only its first has a time in front.
    const open = { stdout: false, stderr: false };
    for await (const { stream, time, text } of records) {
      const fd = stream === "stdout" ? 1 : 2;
      if (timestamps && !open[stream]) writeOut(`${time} `, fd);
      writeOut(text, fd);
      open[stream] = text.at(-1) !== 0x0a;
    }
    return 0;
  },
});
