import { BoxError } from "@bantubox/core";
import { escapeJson, escapeText } from "./escape.ts";
import { nearest } from "./near.ts";
import { usageError } from "./usage.ts";

/** Depth of nested objects that are written out; deeper ones only as JSON. */
const DEPTH_MAX = 16;

/** A template that was read: renders one object. */
export type Template = (object: object) => string;

type Value = { readonly path: readonly string[] } | { readonly literal: string };

/**
 * Reads the small part of Go's templates that `--format` is used for: text, `{{.Field.Field}}`, `{{json .Field}}`,
 * `{{index .Field "key"}}`, `{{len .Field}}`, `{{upper .Field}}`, `{{lower .Field}}`, and `\t` and `\n` in the text.
 *
 * @throws {BoxError} `usage`; the template `template-field` when an object has no such field.
 */
export function parseTemplate(source: string): Template {
  const parts: (string | Template)[] = [];
  let at = 0;
  while (at < source.length) {
    const open = source.indexOf("{{", at);
    if (open < 0) break;
    parts.push(withTabs(source.slice(at, open)));
    const close = source.indexOf("}}", open);
    if (close < 0) throw unreadable(source, 'a "{{" is not closed');
    parts.push(parseAction(source.slice(open + 2, close).trim(), source));
    at = close + 2;
  }
  parts.push(withTabs(source.slice(at)));
  return (object) => parts.map((part) => (typeof part === "string" ? part : part(object))).join("");
}

function parseAction(action: string, source: string): Template {
  const words = action.match(/"(?:[^"\\]|\\.)*"|[^\s"]+/g) ?? [];
  const [first = "", ...rest] = words;
  if (first.startsWith(".") && rest.length === 0) {
    const value = parseValue(first, source);
    return (object) => show(evaluate(value, object), 0);
  }
  const values = rest.map((word) => parseValue(word, source));
  const [value, ...keys] = values;
  if (value === undefined) throw unreadable(source, `"{{${action}}}" is not understood`);
  if (first === "index") return (object) => show(indexed(evaluate(value, object), keys, object), 0);
  if (keys.length > 0) throw unreadable(source, `"{{${action}}}" is not understood`);
  switch (first) {
    case "json":
      return (object) => escapeJson(evaluate(value, object));
    case "upper":
      return (object) => show(evaluate(value, object), 0).toUpperCase();
    case "lower":
      return (object) => show(evaluate(value, object), 0).toLowerCase();
    case "len":
      return (object) => String(lengthOf(evaluate(value, object)));
    default:
      throw unreadable(source, `"{{${action}}}" is not understood`);
  }
}

function parseValue(word: string, source: string): Value {
  if (word === ".") return { path: [] };
  if (/^(?:\.[A-Za-z0-9_]+)+$/.test(word)) return { path: word.slice(1).split(".") };
  if (/^[0-9]{1,9}$/.test(word)) return { literal: word };
  if (word.startsWith('"')) {
    try {
      return { literal: String(JSON.parse(word)) };
    } catch {
      // Falls to the error below.
    }
  }
  throw unreadable(source, `${JSON.stringify(word)} is not understood`);
}

function evaluate(value: Value, object: object): unknown {
  if ("literal" in value) return value.literal;
  let found: unknown = object;
  for (const field of value.path) found = fieldOf(found, field);
  return found;
}

function fieldOf(value: unknown, field: string): unknown {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    if (Object.hasOwn(value, field)) return (value as Record<string, unknown>)[field];
    const near = nearest(field, Object.keys(value));
    const hint = near === undefined ? undefined : `Did you mean ".${near}"?`;
    throw new BoxError("template-field", `Cannot show ".${field}": there is no such field`, { hint });
  }
  throw new BoxError("template-field", `Cannot show ".${field}": what it is a field of has none`);
}

/** As Go's index: an absent key of a map is nothing, not an error. */
function indexed(value: unknown, keys: readonly Value[], object: object): unknown {
  let found = value;
  for (const key of keys) {
    const name = String(evaluate(key, object));
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, name)) return "";
    found = (found as Record<string, unknown>)[name];
  }
  return found;
}

function lengthOf(value: unknown): number {
  if (typeof value === "string" || Array.isArray(value)) return value.length;
  return typeof value === "object" && value !== null ? Object.keys(value).length : 0;
}

/** As Go prints values: `[a b]`, `map[key:value]`. */
function show(value: unknown, depth: number): string {
  if (value === undefined || value === null) return "<nil>";
  if (typeof value !== "object") return escapeText(String(value));
  if (depth === DEPTH_MAX) return "…";
  if (Array.isArray(value)) return `[${value.map((item) => show(item, depth + 1)).join(" ")}]`;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[${entries.map(([key, item]) => `${escapeText(key)}:${show(item, depth + 1)}`).join(" ")}]`;
}

function withTabs(text: string): string {
  return text.replaceAll("\\t", "\t").replaceAll("\\n", "\n");
}

function unreadable(source: string, why: string): BoxError {
  return usageError(
    `Cannot read --format ${JSON.stringify(source)}: ${why}`,
    'It takes text, "{{.Field}}", "{{json .Field}}" and "{{index .Field \\"key\\"}}"',
  );
}
