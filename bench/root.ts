import { chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Busybox alone, with the mount points that images have. */
export function makeRoot(root: string): string {
  for (const name of ["bin", "dev", "etc", "proc", "root", "sys", "tmp"])
    mkdirSync(join(root, name), { recursive: true });
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  chmodSync(join(root, "bin/busybox"), 0o755);
  for (const name of ["true", "sleep", "sh"]) symlinkSync("busybox", join(root, "bin", name));
  for (const name of ["hostname", "hosts", "resolv.conf"]) writeFileSync(join(root, "etc", name), "");
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  writeFileSync(join(root, "etc/group"), "root:x:0:\n");
  return root;
}
