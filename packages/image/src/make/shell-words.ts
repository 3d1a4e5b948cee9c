/**
 * Splits an instruction's text at white space outside of quotes. Words keep their quotes and backslashes:
 * `expandWord` takes them away.
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word = "";
  let quote = "";
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at);
    if (quote === "" && /\s/.test(char)) {
      if (word !== "") words.push(word);
      word = "";
      continue;
    }
    word += char;
    if (char === "\\" && quote !== "'") word += text.charAt(++at);
    else if (quote === "" && (char === "'" || char === '"')) quote = char;
    else if (char === quote) quote = "";
  }
  if (word !== "") words.push(word);
  return words;
}

/** `${NAME}`, `${NAME:-word}`, `${NAME:+word}`. */
const BRACED = /^\$\{([A-Za-z_][A-Za-z0-9_]*)(?::([-+])([^{}]*))?\}/;
const BARE = /^\$([A-Za-z_][A-Za-z0-9_]*)/;

/**
 * A word's meaning as in a Dockerfile: quotes and backslashes taken away, variables put in, those that are not set empty.
 *
 * @returns undefined when a quote or brace is not closed, or what stands in braces is not understood.
 */
export function expandWord(word: string, lookUp: (name: string) => string | undefined): string | undefined {
  let text = "";
  let quote = "";
  for (let at = 0; at < word.length; ) {
    const char = word.charAt(at);
    if (quote === "'" && char !== "'") {
      text += char;
      at++;
    } else if (char === "'" || char === '"') {
      if (quote !== "" && quote !== char) text += char;
      else quote = quote === "" ? char : "";
      at++;
    } else if (char === "\\") {
      const next = word.charAt(at + 1);
      // Between double quotes a backslash stands for itself, except before what it protects.
      text += quote === "" || /["$\\]/.test(next) ? next : `\\${next}`;
      at += 2;
    } else if (char === "$") {
      const rest = word.slice(at);
      const [whole, name = "", operator, alternative = ""] = BRACED.exec(rest) ?? BARE.exec(rest) ?? [];
      if (whole === undefined && rest.startsWith("${")) return undefined;
      text += whole === undefined ? "$" : substitute(lookUp(name), operator, alternative);
      at += whole?.length ?? 1;
    } else {
      text += char;
      at++;
    }
  }
  return quote === "" ? text : undefined;
}

function substitute(value: string | undefined, operator: string | undefined, alternative: string): string {
  const isSet = value !== undefined && value !== "";
  if (operator === "-") return isSet ? value : alternative;
  if (operator === "+") return isSet ? alternative : "";
  return value ?? "";
}
