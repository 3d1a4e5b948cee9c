import { escapeJson, escapeText } from "./escape.ts";

/** An object of facts, as `version` and `info` print it: a line each, or as `--format` says. */
export async function formatFacts(facts: object, format: string | undefined): Promise<string> {
  if (format === undefined) return indented(facts, "").join("\n");
  if (format === "json") return escapeJson(facts);
  return (await import("./template.ts")).parseTemplate(format)(facts);
}

function indented(facts: object, indent: string): string[] {
  const lines: string[] = [];
  for (const [key, value] of Object.entries(facts)) {
    if (value === undefined || value === null) continue;
    if (typeof value === "object" && !Array.isArray(value)) {
      lines.push(`${indent}${key}:`, ...indented(value, `${indent}  `));
    } else {
      lines.push(`${indent}${key}: ${escapeText(Array.isArray(value) ? value.join(", ") : String(value))}`);
    }
  }
  return lines;
}
