import { removeTree as removeFiles } from "@bantubox/ffi";
import { deleteSubvolume, isSubvolume } from "./subvolume.ts";

/** As `removeTreeSync`, for those who wait for a tree's removal anyway. */
export async function removeTree(path: string): Promise<void> {
  removeTreeSync(path);
}

/** Removes a tree that any driver has made, and half of one, too. It may be gone already. */
export function removeTreeSync(path: string): void {
  if (isSubvolume(path)) deleteSubvolume(path);
  else removeFiles(path);
}
