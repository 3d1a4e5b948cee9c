import { existsSync, removeTree } from "@bantubox/ffi";
import { deleteSubvolume, isSubvolume } from "@bantubox/image/subvolume";
import { OWN_ROOT } from "../../runtime/rootfs.ts";

/** Removes a container's directory. Where its root is a subvolume, all of that goes by one call. */
export function removeFiles(directory: string): void {
  const root = `${directory}/${OWN_ROOT}`;
  if (existsSync(root) && isSubvolume(root)) deleteSubvolume(root);
  removeTree(directory);
}
