import { type ConsolaInstance, createConsola, type LogObject } from "consola/core";
import { painter } from "./color.ts";
import { writeOut } from "./output.ts";

/** Everything we have to say besides results: one line each, on standard error. */
let messages: ConsolaInstance | undefined;

/** Tells the user something; `hint` says what to do about it. */
export function say(level: "error" | "warn" | "info", text: string, hint?: string): void {
  messages ??= createMessages();
  messages[level](text);
  if (hint !== undefined) messages.log(`hint: ${hint}`);
}

function createMessages(): ConsolaInstance {
  const paint = painter(2);
  return createConsola({
    // The core alone keeps no level; 3 shows everything but debugging. Nothing may be held back as repeated.
    level: 3,
    throttleMin: Number.POSITIVE_INFINITY,
    reporters: [{ log: (record) => writeOut(line(record, paint), 2) }],
  });
}

function line({ type, args }: LogObject, paint: ReturnType<typeof painter>): string {
  const text = args.join(" ");
  if (type === "log") return `${paint("mist", text)}\n`;
  return `${paint("sage", "bb:")} ${type === "warn" ? "warning: " : ""}${text}\n`;
}
