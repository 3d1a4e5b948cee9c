/**
 * A number of the kernel's stat files. Counters past 2^53 lose their last
 * digits, which no reader of statistics minds.
 */
export function parseCount(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d+$/.test(text)) return undefined;
  return Number(text);
}

/** A limit: undefined for `max`, and for v1's way to say so, a number of pages near 2^63. */
export function parseLimit(text: string | undefined): number | undefined {
  const value = parseCount(text);
  return value !== undefined && value <= Number.MAX_SAFE_INTEGER ? value : undefined;
}

/** Flat keyed files: `key value` a line, as in memory.stat and cpu.stat. */
export function parseKeyed(text: string): ReadonlyMap<string, number> {
  const values = new Map<string, number>();
  for (const line of text.split("\n")) {
    const space = line.indexOf(" ");
    const value = space === -1 ? undefined : parseCount(line.slice(space + 1));
    if (value !== undefined) values.set(line.slice(0, space), value);
  }
  return values;
}

/** Nested keyed files, `8:0 rbytes=1 wbytes=2` a line: the sum of `key` over all lines. */
export function sumNested(text: string, key: string): number {
  let sum = 0;
  for (const line of text.split("\n")) {
    for (const word of line.split(" ")) {
      if (word.startsWith(`${key}=`)) sum += parseCount(word.slice(key.length + 1)) ?? 0;
    }
  }
  return sum;
}

/** v1's block files, `8:0 Read 1` a line: the sum of `operation` over all devices. */
export function sumOperations(text: string, operation: string): number {
  let sum = 0;
  for (const line of text.split("\n")) {
    const [device, name, count] = line.split(" ");
    if (device?.includes(":") && name === operation) sum += parseCount(count) ?? 0;
  }
  return sum;
}
