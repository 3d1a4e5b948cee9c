/** A header longer than this is an attack on our parser. */
const LINK_MAX = 16 * 1024;

/**
 * The address of the next page in a `Link` header, as it stands there.
 *
 * @returns undefined when there is none, or nothing that can be read.
 * @see https://www.rfc-editor.org/rfc/rfc8288
 */
export function parseNextLink(header: string | null): string | undefined {
  if (header === null || header.length > LINK_MAX) return undefined;
  // Each link: an address in angle brackets, then parameters; values may be quoted and hold commas.
  const link = /[\s,]*<([^<>]*)>((?:[ \t]*;[ \t]*[^\s"=,;<>]+(?:[ \t]*=[ \t]*(?:"[^"]*"|[^\s",;<>]+))?)*)/y;
  for (let match = link.exec(header); match !== null; match = link.exec(header)) {
    const relation = /;[ \t]*rel[ \t]*=[ \t]*(?:"([^"]*)"|([^\s",;]+))/i.exec(match[2] ?? "");
    const relations = (relation?.[1] ?? relation?.[2] ?? "").toLowerCase().split(/\s+/);
    if (relations.includes("next")) return match[1] ?? "";
  }
  return undefined;
}
