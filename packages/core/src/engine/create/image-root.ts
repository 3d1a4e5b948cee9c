import { AT, attempt, BoxError, call, cstr, ERRNO, Fd, O, SysError } from "@bantubox/ffi";

const FSOPEN_CLOEXEC = 1;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const FSMOUNT_CLOEXEC = 1;
const MOUNT_ATTR_RDONLY_NODEV_NOSUID = 0x1 | 0x2 | 0x4;

/**
 * Opens an image's root for reading, as its containers will see it: one layer's
 * directory, or an overlay of several that is attached nowhere and goes with its descriptor.
 *
 * @param base Directory that the layers lie in.
 * @param layers From top to bottom.
 */
export function openLayers(base: string, layers: readonly string[]): Fd {
  const [only, ...more] = layers;
  if (only === undefined) throw new BoxError("empty-image", "Cannot look into the image: it has no layers");
  if (more.length === 0) return openDirectory(`${base}/${only}`);
  using context = new Fd(call("fsopen", '"overlay"', cstr("overlay"), FSOPEN_CLOEXEC));
  for (const layer of layers) {
    const path = `${base}/${layer}`;
    const error = attempt("fsconfig", context.raw, FSCONFIG_SET_STRING, cstr("lowerdir+"), cstr(path), 0);
    // Before Linux 6.8 the layers are one string, from 6.5 of at most 256 bytes.
    if (error === -ERRNO.EINVAL) return openLayersAtOnce(base, layers);
    if (error < 0)
      call("fsconfig", `"lowerdir+" to "${path}"`, context.raw, FSCONFIG_SET_STRING, cstr("lowerdir+"), cstr(path), 0);
  }
  // Before 6.5 overlay looks at its options only now.
  const error = attempt("fsconfig", context.raw, FSCONFIG_CMD_CREATE, null, null, 0);
  return error === -ERRNO.EINVAL ? openLayersAtOnce(base, layers) : create(context, error);
}

function openLayersAtOnce(base: string, layers: readonly string[]): Fd {
  using context = new Fd(call("fsopen", '"overlay"', cstr("overlay"), FSOPEN_CLOEXEC));
  const before = process.cwd();
  process.chdir(base);
  try {
    const value = cstr(layers.join(":"));
    call(
      "fsconfig",
      `"lowerdir" to ${layers.length} layers`,
      context.raw,
      FSCONFIG_SET_STRING,
      cstr("lowerdir"),
      value,
      0,
    );
    return create(context, attempt("fsconfig", context.raw, FSCONFIG_CMD_CREATE, null, null, 0));
  } finally {
    process.chdir(before);
  }
}

function create(context: Fd, result: number): Fd {
  if (result < 0) throw new SysError("fsconfig", -result, "an overlay of the image's layers");
  return new Fd(call("fsmount", "the image's layers", context.raw, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY_NODEV_NOSUID));
}

export function openDirectory(path: string): Fd {
  return new Fd(call("openat", `"${path}"`, AT.FDCWD, cstr(path), O.PATH | O.DIRECTORY | O.CLOEXEC));
}
