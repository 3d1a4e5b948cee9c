/** What the last component of a tar entry's name asks for. Names are byte strings, see `TarEntry`. */
export type Whiteout =
  | { readonly kind: "plain" }
  /** Hides `name` of the layers below. */
  | { readonly kind: "hide"; readonly name: string }
  /** Hides everything that the layers below have in this directory. */
  | { readonly kind: "opaque" }
  /** Bookkeeping of the aufs driver, which no other driver wants. */
  | { readonly kind: "metadata" }
  | { readonly kind: "invalid" };

const PREFIX = ".wh.";
const OPAQUE = ".wh..wh..opq";
const METADATA_PREFIX = ".wh..wh.";

const PLAIN: Whiteout = { kind: "plain" };

/**
 * Says what `name` stands for in a layer; never names anything but one entry of the same directory.
 *
 * @param name One path component: neither empty, `.` nor `..`, and without a slash.
 * @see https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
 */
export function classifyName(name: string): Whiteout {
  if (!name.startsWith(PREFIX)) return PLAIN;
  if (name === OPAQUE) return { kind: "opaque" };
  if (name.startsWith(METADATA_PREFIX)) return { kind: "metadata" };
  const hidden = name.slice(PREFIX.length);
  if (hidden === "" || hidden === "." || hidden === "..") return { kind: "invalid" };
  return { kind: "hide", name: hidden };
}
