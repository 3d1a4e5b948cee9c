import { existsSync } from "@bantubox/ffi";
import { readControl, type Write } from "../file.ts";
import { sumOperations } from "../keyed.ts";
import type { BlockIoResources } from "../resources.ts";
import type { IoStats } from "../stats.ts";

/**
 * The writes that weigh block I/O and hold it back, or undefined where nothing weighs it: BFQ since Linux 5.0,
 * CFQ before. Only BFQ's other files are at the top, so those say whether it is there.
 */
export function limitBlockIo(mount: string, dir: string, blockIO: BlockIoResources): Write[] | undefined {
  const writes: Write[] = [];
  const { weight, leafWeight, weightDevice = [] } = blockIO;
  if (weight || leafWeight || weightDevice.length > 0) {
    const isBfq = existsSync(`${mount}/blkio.bfq.io_serviced`);
    if (!isBfq && !existsSync(`${mount}/blkio.weight`)) return undefined;
    const hasLeaf = leafWeight || weightDevice.some((device) => device.leafWeight);
    if (hasLeaf && !existsSync(`${mount}/blkio.leaf_weight`)) return undefined;
    if (weight) writes.push({ path: `${dir}/${isBfq ? "blkio.bfq.weight" : "blkio.weight"}`, value: String(weight) });
    if (leafWeight) writes.push({ path: `${dir}/blkio.leaf_weight`, value: String(leafWeight) });
    for (const { major, minor, weight: own, leafWeight: leaf } of weightDevice) {
      const file = isBfq ? "blkio.bfq.weight_device" : "blkio.weight_device";
      if (own) writes.push({ path: `${dir}/${file}`, value: `${major}:${minor} ${own}` });
      if (leaf) writes.push({ path: `${dir}/blkio.leaf_weight_device`, value: `${major}:${minor} ${leaf}` });
    }
  }
  for (const [file, devices] of [
    ["read_bps", blockIO.throttleReadBpsDevice],
    ["write_bps", blockIO.throttleWriteBpsDevice],
    ["read_iops", blockIO.throttleReadIOPSDevice],
    ["write_iops", blockIO.throttleWriteIOPSDevice],
  ] as const) {
    for (const { major, minor, rate } of devices ?? []) {
      writes.push({ path: `${dir}/blkio.throttle.${file}_device`, value: `${major}:${minor} ${rate}` });
    }
  }
  return writes;
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
