import { existsSync } from "@bantubox/ffi";
import { readControl, type Write } from "../file.ts";
import { sumOperations } from "../keyed.ts";
import type { IoStats } from "../stats.ts";

/**
 * The write that weighs block I/O, or undefined where nothing does: BFQ since Linux 5.0,
 * CFQ before. Only BFQ's other files are at the top, so those say whether it is there.
 */
export function limitBlockIo(mount: string, dir: string, weight: number): Write | undefined {
  if (existsSync(`${mount}/blkio.bfq.io_serviced`)) return { path: `${dir}/blkio.bfq.weight`, value: String(weight) };
  if (existsSync(`${mount}/blkio.weight`)) return { path: `${dir}/blkio.weight`, value: String(weight) };
  return undefined;
}

export function readIo(dir: string): IoStats | undefined {
  const bytes = readControl(`${dir}/blkio.throttle.io_service_bytes_recursive`);
  if (bytes === undefined) return undefined;
  const operations = readControl(`${dir}/blkio.throttle.io_serviced_recursive`) ?? "";
  return {
    readBytes: sumOperations(bytes, "Read"),
    writeBytes: sumOperations(bytes, "Write"),
    readOperations: sumOperations(operations, "Read"),
    writeOperations: sumOperations(operations, "Write"),
  };
}
