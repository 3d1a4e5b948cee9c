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
  for (const [file, wanted] of [
    ["cpuset.cpus", cpus],
    ["cpuset.mems", mems],
  ] as const) {
    let value = readControl(`${mount}/${file}`) ?? "";
    for (const [index, part] of parts.entries()) {
      const path = `${mount}/${part}/${file}`;
      if (index === parts.length - 1) {
        writes.push({ path, value: wanted ?? value });
        break;
      }
      const existing = readControl(path);
      if (existing) value = existing;
      else writes.push({ path, value });
    }
  }
  return writes;
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
