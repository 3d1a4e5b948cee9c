import { readControl, type Write } from "../file.ts";

/**
 * The writes that make `parts`, directories below `mount`, usable: a v1 cpuset is born
 * empty, and no process may join an empty one. Parents that someone filled already are left as they are.
 */
export function fillCpuset(
  mount: string,
  parts: readonly string[],
  { cpus, mems }: { readonly cpus?: string | undefined; readonly mems?: string | undefined },
): Write[] {
  const writes: Write[] = [];
  fill(writes, mount, parts, "cpuset.cpus", cpus);
  fill(writes, mount, parts, "cpuset.mems", mems);
  return writes;
}

function fill(
  writes: Write[],
  mount: string,
  parts: readonly string[],
  file: string,
  wanted: string | undefined,
): void {
  const leaf = parts.length - 1;
  let value: string | undefined;
  // Upwards to the first that somebody filled already, which mostly is the next one.
  let from = leaf;
  while (from > 0 && !value) value = readControl(`${mount}/${parts[--from]}/${file}`);
  if (value) from++;
  else value = readControl(`${mount}/${file}`) ?? "";
  for (; from < leaf; from++) writes.push({ path: `${mount}/${parts[from]}/${file}`, value });
  writes.push({ path: `${mount}/${parts[leaf]}/${file}`, value: wanted ?? value });
}

/** The writes that move an existing cpuset. */
export function limitCpuset(
  dir: string,
  { cpus, mems }: { readonly cpus?: string | undefined; readonly mems?: string | undefined },
): Write[] {
  const writes: Write[] = [];
  if (cpus !== undefined) writes.push({ path: `${dir}/cpuset.cpus`, value: cpus });
  if (mems !== undefined) writes.push({ path: `${dir}/cpuset.mems`, value: mems });
  return writes;
}
