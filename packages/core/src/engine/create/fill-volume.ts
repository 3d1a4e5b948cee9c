import { allocate, attempt, cstr, Fd, O, RESOLVE } from "@bantubox/ffi";
import { copyTree } from "@bantubox/image";

/**
 * Copies what lies at `target` below an image's root into a new, empty volume.
 * Links of the image resolve inside it; what is no directory, or not there, leaves the volume empty.
 */
export async function fillVolume(root: number, target: string, volume: string): Promise<void> {
  const how = allocate(24);
  const view = new DataView(how.buffer);
  view.setUint32(0, O.RDONLY | O.DIRECTORY | O.CLOEXEC, true);
  view.setUint32(16, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS, true);
  const raw = attempt("openat2", root, cstr(target), how, 24);
  if (raw < 0) return;
  using source = new Fd(raw);
  // The descriptor's own name, so that no part of the path is looked up again.
  await copyTree(`/proc/self/fd/${source.raw}/.`, volume);
}
