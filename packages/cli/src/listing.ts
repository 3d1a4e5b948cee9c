import { escapeJson, escapeText } from "./escape.ts";
import { formatTable } from "./format.ts";
import { parseTemplate } from "./template.ts";

/** A list of things that a command prints as table, JSON, template or IDs. */
export interface Listing {
  /** Field by field: the heading of its column. */
  readonly columns: Readonly<Record<string, string>>;
  /** What the table, the templates and the JSON are made of; more fields than columns are welcome. */
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  /** `json`, `table …` or a template; the table when absent. */
  readonly format?: string | undefined;
  /** Only this field, one a line. */
  readonly quiet?: string | undefined;
}

/** The text of a list, harmless for a terminal whatever the rows hold. */
export function formatListing({ columns, rows, format, quiet }: Listing): string {
  if (format === "json") return rows.map((row) => `${escapeJson(row)}\n`).join("");
  if (quiet !== undefined && format === undefined)
    return rows.map((row) => `${escapeText(String(row[quiet]))}\n`).join("");
  const fields = Object.keys(columns);
  if (format === undefined || format === "table") {
    const cells = rows.map((row) => fields.map((field) => escapeText(String(row[field] ?? ""))));
    return formatTable(Object.values(columns), cells);
  }
  if (!format.startsWith("table ")) {
    const template = parseTemplate(format);
    return rows.map((row) => `${template(row)}\n`).join("");
  }
  const template = parseTemplate(format.slice(6).trim());
  const head = headings(rows[0] ?? {}, columns);
  return formatTable(
    template(head).split("\t"),
    rows.map((row) => template(row).split("\t")),
  );
}

/** Any field's heading: its column's, or its name in capitals. */
function headings(
  row: Readonly<Record<string, unknown>>,
  columns: Readonly<Record<string, string>>,
): Record<string, string> {
  const head: Record<string, string> = { ...columns };
  for (const field in row) head[field] ??= field.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toUpperCase();
  return head;
}
