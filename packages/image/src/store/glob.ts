/** One character of a name: whether it fits; `star` stands for any number of them. */
type Token = "star" | ((char: string) => boolean);

/**
 * Whether a pattern of Go's path.Match fits a whole name: `*` and `?` stand for anything but a slash, `[a-z]` and
 * `[^a-z]` for one character, and a backslash takes such a meaning away.
 *
 * @returns undefined when the pattern is malformed.
 */
export function globMatches(pattern: string, name: string): boolean | undefined {
  const tokens = tokensOf(pattern);
  if (tokens === undefined) return undefined;
  const chars = [...name];
  let at = 0;
  let token = 0;
  // Where to go on when nothing fits: behind the last star, which then stands for one character more.
  let back: { token: number; at: number } | undefined;
  while (at < chars.length) {
    const next = tokens[token];
    const char = chars[at] ?? "";
    if (next === "star") {
      back = { token: token + 1, at };
      token++;
    } else if (next?.(char) === true) {
      token++;
      at++;
    } else {
      // A star before this one can do no better: neither passes a slash.
      if (back === undefined || chars[back.at] === "/") return false;
      back.at++;
      ({ token, at } = back);
    }
  }
  return tokens.slice(token).every((rest) => rest === "star");
}

function tokensOf(pattern: string): Token[] | undefined {
  const tokens: Token[] = [];
  const chars = [...pattern];
  for (let at = 0; at < chars.length; at++) {
    const char = chars[at] ?? "";
    if (char === "*") tokens.push("star");
    else if (char === "?") tokens.push((other) => other !== "/");
    else if (char === "[") {
      const set = /^\[(\^?)((?:\\.|[^\]\\])+)\]/su.exec(chars.slice(at).join(""));
      if (set === null) return undefined;
      const [whole, not, members = ""] = set;
      tokens.push((other) => isMember(members, other) !== (not === "^"));
      at += [...whole].length - 1;
    } else {
      const wanted = char === "\\" ? chars[++at] : char;
      if (wanted === undefined) return undefined;
      tokens.push((other) => other === wanted);
    }
  }
  return tokens;
}

/** Of a set's inside: characters, ranges, and both behind a backslash. */
function isMember(members: string, char: string): boolean {
  for (const [, low = "", high = low] of members.matchAll(/(\\?.)(?:-(\\?.))?/gsu)) {
    if (bare(low) <= char && char <= bare(high)) return true;
  }
  return false;
}

function bare(member: string): string {
  return member.length > 1 && member.startsWith("\\") ? member.slice(1) : member;
}
