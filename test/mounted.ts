/** File systems of the tests' own: in files, mounted in a mount namespace that ends with the test's process. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Place } from "./harness.ts";

export interface MountedPlace extends Place, AsyncDisposable {}

/**
 * Makes and mounts a file system for stores. Nothing of it is in the host's mount table, and a test that is killed
 * leaves nothing but a file: the loop device goes with the namespace, and that with its last process.
 *
 * @param setUp A line for the shell: `$FILE` is to hold the file system, and `$DIR` is where it is to be mounted.
 */
export async function mountPlace(setUp: string): Promise<MountedPlace> {
  const directory = mkdtempSync(join(tmpdir(), "bb-place-"));
  const path = join(directory, "mnt");
  // It waits for the end of our end of the pipe, which comes even if we are killed. Where nothing loads modules when
  // they are needed, loop devices have to be asked for.
  const script = `set -e; modprobe -q loop || :; mkdir "$DIR"; { ${setUp}; } >&2; echo ready; cat`;
  const holder = Bun.spawn(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, FILE: join(directory, "file"), DIR: path },
  });
  const reader = holder.stdout.getReader();
  const first = await reader.read();
  if (first.done) throw new Error(`Cannot set up: ${setUp}\n${await new Response(holder.stderr).text()}`);
  return {
    path,
    seen: `/proc/${holder.pid}/root${path}`,
    prefix: ["nsenter", `--mount=/proc/${holder.pid}/ns/mnt`, "--"],
    async [Symbol.asyncDispose]() {
      await holder.stdin.end();
      await holder.exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A btrfs of a few hundred megabytes. */
export function mountBtrfs(): Promise<MountedPlace> {
  return mountPlace('truncate -s 600M "$FILE"; mkfs.btrfs -q "$FILE"; mount -o loop "$FILE" "$DIR"');
}
