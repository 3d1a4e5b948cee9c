import { existsSync } from "@bantubox/ffi";
import { readControl, type Write } from "../file.ts";
import { sumNested } from "../keyed.ts";
import type { IoStats } from "../stats.ts";

/** The write that weighs block I/O, or undefined where nothing does. io.cost is at the top where its weights work. */
export function limitBlockIo(mount: string, dir: string, weight: number): Write | undefined {
  if (existsSync(`${mount}/io.cost.qos`)) {
    // 10 to 1000, as OCI has it, stretched to 1 to 10000.
    return { path: `${dir}/io.weight`, value: String(1 + Math.floor(((weight - 10) * 9999) / 990)) };
  }
  if (existsSync("/sys/module/bfq")) return { path: `${dir}/io.bfq.weight`, value: String(weight) };
  return undefined;
}

export function readIo(dir: string): IoStats | undefined {
  const text = readControl(`${dir}/io.stat`);
  if (text === undefined) return undefined;
  return {
    readBytes: sumNested(text, "rbytes"),
    writeBytes: sumNested(text, "wbytes"),
    readOperations: sumNested(text, "rios"),
    writeOperations: sumNested(text, "wios"),
  };
}
