/** Lines of columns, each as wide as its widest cell, three spaces apart, as Docker prints them. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = head.length === 0 ? rows : [head, ...rows];
  const widest: number[] = [];
  const widths = lines.map((line) => line.map((cell) => Bun.stringWidth(cell)));
  for (const line of widths) {
    for (let column = 0; column < line.length; column++)
      widest[column] = Math.max(widest[column] ?? 0, line[column] ?? 0);
  }
  let text = "";
  for (let row = 0; row < lines.length; row++) {
    const line = lines[row] ?? [];
    for (let column = 0; column < line.length; column++) {
      text += line[column];
      if (column < line.length - 1) text += " ".repeat((widest[column] ?? 0) - (widths[row]?.[column] ?? 0) + 3);
    }
    text += "\n";
  }
  return text;
}

/** `7.34MB`: three digits that count, powers of 1000. */
export function formatSize(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let size = bytes;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${Number(size.toPrecision(3))}${units[unit]}`;
}

/** How long ago or how long, in Docker's words: `3 minutes`, `About an hour`. */
export function formatDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.floor(ms / 3_600_000 + 0.5);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  const days = Math.floor(hours / 24);
  if (days < 14) return `${days} days`;
  if (days < 60) return `${Math.floor(days / 7)} weeks`;
  if (days < 730) return `${Math.floor(days / 30)} months`;
  return `${Math.floor(days / 365)} years`;
}

/** `3 minutes ago`. */
export function formatAge(ms: number, nowMs: number): string {
  return `${formatDuration(Math.max(0, nowMs - ms))} ago`;
}

/** Docker's `2006-01-02 15:04:05 +0000 UTC`. */
export function formatDate(ms: number): string {
  return `${new Date(ms).toISOString().replace("T", " ").slice(0, 19)} +0000 UTC`;
}

/** Cuts after `width` columns of a terminal, the last one a `…`; never in the middle of a character. */
export function ellipsis(text: string, width: number): string {
  if (Bun.stringWidth(text) <= width) return text;
  // Intl's tables take a millisecond to load, and most text needs none.
  if (/^[\x20-\x7e]*$/.test(text)) return `${text.slice(0, width - 1)}…`;
  let cut = "";
  let used = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    used += Bun.stringWidth(segment);
    if (used > width - 1) break;
    cut += segment;
  }
  return `${cut}…`;
}

/** A container's command in quotes, no longer than a table wants it; not escaped. */
export function formatCommand(command: readonly string[], truncate: boolean): string {
  const text = command.join(" ");
  return `"${(truncate ? ellipsis(text, 20) : text).replaceAll('"', '\\"')}"`;
}

/** The first 12 hexadecimal digits of an ID or digest. */
export function shortId(id: string): string {
  const colon = id.indexOf(":");
  return id.slice(colon + 1, colon + 13);
}
