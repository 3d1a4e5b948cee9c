import { readIfThere } from "@bantubox/ffi";

/** The name of a user of this host; `#UID` for one that it does not know. */
export function userName(uid: number): string {
  for (const line of (readIfThere("/etc/passwd") ?? "").split("\n")) {
    const [name, , id] = line.split(":");
    if (name && Number(id) === uid) return name;
  }
  return `#${uid}`;
}
