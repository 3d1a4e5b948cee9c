import { doctor, openEngine } from "@bantubox/core";
import { painter } from "../color.ts";
import { defineCommand } from "../command.ts";
import { escapeText } from "../escape.ts";
import { formatFacts } from "../facts.ts";
import { printLine } from "../output.ts";

const MARKS = { ok: "✓", warn: "!", fail: "✗" } as const;

export default defineCommand({
  name: "doctor",
  summary: "Say what this host lacks to run containers, and how to get it",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    format: { type: "string", short: "f", value: "FORMAT", description: 'Print as "json", or by a template' },
  },
  examples: ["bb doctor", "bb doctor -f json"],
  async run({ flags, globals }) {
    const result = await doctor(openEngine(globals));
    const failed = result.checks.some(({ status }) => status === "fail");
    if (flags.format !== undefined) {
      printLine(await formatFacts(result, flags.format));
      return failed ? 1 : 0;
    }
    const paint = painter(1);
    for (const { name, status, detail, hint } of result.checks) {
      const mark = paint(status === "ok" ? "sage" : "mist", MARKS[status]);
      printLine(`${mark} ${escapeText(name)}: ${escapeText(detail)}`);
      if (hint !== undefined && status !== "ok") printLine(`  ${paint("mist", `hint: ${escapeText(hint)}`)}`);
    }
    return failed ? 1 : 0;
  },
});
