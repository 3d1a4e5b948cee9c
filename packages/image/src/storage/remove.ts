import { rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { deleteSubvolume, isSubvolume } from "./subvolume.ts";

/** Removes a tree that any driver has made, and half of one, too. It may be gone already. */
export async function removeTree(path: string): Promise<void> {
  if (isSubvolume(path)) deleteSubvolume(path);
  else await rm(path, { recursive: true, force: true });
}

/** As `removeTree`, at once. */
export function removeTreeSync(path: string): void {
  if (isSubvolume(path)) deleteSubvolume(path);
  else rmSync(path, { recursive: true, force: true });
}
