import { existsSync } from "@bantubox/ffi";
import { readControl, type Write } from "../file.ts";
import { sumNested } from "../keyed.ts";
import type { BlockIoResources } from "../resources.ts";
import type { IoStats } from "../stats.ts";

/**
 * The writes that weigh block I/O and hold it back, or undefined where nothing weighs it.
 * io.cost is at the top where its weights work.
 */
export function limitBlockIo(mount: string, dir: string, blockIO: BlockIoResources): Write[] | undefined {
  const writes: Write[] = [];
  const { weight, leafWeight, weightDevice = [] } = blockIO;
  if (leafWeight || weightDevice.some((device) => device.leafWeight)) return undefined;
  if (weight || weightDevice.length > 0) {
    const isCost = existsSync(`${mount}/io.cost.qos`);
    if (!isCost && !existsSync("/sys/module/bfq")) return undefined;
    // 10 to 1000, as OCI has it, stretched to 1 to 10000.
    const scaled = (value: number): number => (isCost ? 1 + Math.floor(((value - 10) * 9999) / 990) : value);
    const path = `${dir}/${isCost ? "io.weight" : "io.bfq.weight"}`;
    if (weight) writes.push({ path, value: String(scaled(weight)) });
    for (const { major, minor, weight: own } of weightDevice) {
      if (own) writes.push({ path, value: `${major}:${minor} ${scaled(own)}` });
    }
  }
  for (const [key, devices] of [
    ["rbps", blockIO.throttleReadBpsDevice],
    ["wbps", blockIO.throttleWriteBpsDevice],
    ["riops", blockIO.throttleReadIOPSDevice],
    ["wiops", blockIO.throttleWriteIOPSDevice],
  ] as const) {
    for (const { major, minor, rate } of devices ?? []) {
      writes.push({ path: `${dir}/io.max`, value: `${major}:${minor} ${key}=${rate === 0 ? "max" : rate}` });
    }
  }
  return writes;
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
