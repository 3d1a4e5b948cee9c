// Control characters (C0, DEL, C1), line and paragraph separators, everything that turns or hides text
// (bidirectional marks, zero width, tags), and halves of surrogate pairs.
const UNSAFE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|\p{Cs}/gu;

const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Makes text from outside (names, labels, commands, a registry's words) harmless for a terminal: what would
 * move the cursor, colour, hide or turn text around shows as an escape such as `\x1b`.
 */
export function escapeText(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return text;
  return text.replace(UNSAFE, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return SHORT[char] ?? (code < 0x100 ? `\\x${hex(code, 2)}` : `\\u{${hex(code, 4)}}`);
  });
}

/** As JSON.stringify, and harmless for a terminal; still the same JSON value. */
export function escapeJson(value: unknown, indent?: number): string {
  // Unescaped control characters in JSON text are its own line ends and indentation.
  return (JSON.stringify(value, undefined, indent) ?? "null").replace(UNSAFE, (char) => {
    if (char === "\n") return char;
    let escaped = "";
    for (let i = 0; i < char.length; i++) escaped += `\\u${hex(char.charCodeAt(i), 4)}`;
    return escaped;
  });
}

function hex(code: number, width: number): string {
  return code.toString(16).padStart(width, "0");
}
