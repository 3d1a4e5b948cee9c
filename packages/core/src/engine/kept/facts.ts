import type { Fact } from "@bantubox/ffi/line";
import { openDirectory } from "../create/image-root.ts";
import { readBelow } from "../create/users.ts";

/** A plain file below a root that is not trusted. */
export function belowFact(path: string, detail: string): Fact {
  using root = openDirectory(path);
  return { kind: "below", path, detail, value: readBelow(root.raw, detail) };
}
