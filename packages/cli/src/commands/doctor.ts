import { doctor, openEngine } from "@bantubox/core";
import { painter } from "../color.ts";
import { defineCommand } from "../command.ts";
import { escapeJson, escapeText } from "../escape.ts";
import { printLine } from "../output.ts";

const MARKS = { ok: "✓", warn: "!", fail: "✗" } as const;

export default defineCommand({
  name: "doctor",
  summary: "Say what this host lacks to run containers, and how to get it",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    json: { type: "boolean", description: "Print as JSON" },
  },
  examples: ["bb doctor"],
  async run({ flags, globals }) {
    const result = await doctor(openEngine(globals));
    const failed = result.checks.some(({ status }) => status === "fail");
    if (flags.json) {
      printLine(escapeJson(result, 2));
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
