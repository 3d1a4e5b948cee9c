import type { MountOption } from "@bantubox/core";
import { invalid } from "../usage.ts";
import { parseBoolean } from "./number.ts";
import { parseSize } from "./size.ts";

type Propagation = NonNullable<MountOption["propagation"]>;
type Draft = { -readonly [K in keyof MountOption]: MountOption[K] };

const PROPAGATIONS: readonly string[] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}$/;
const TMPFS_WORDS =
  "rw ro exec noexec suid nosuid dev nodev sync async dirsync atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime size mode uid gid nr_inodes nr_blocks mpol huge".split(
    " ",
  );

/** `-v`: `/host:/ctr[:opts]`, `name:/ctr[:opts]`, or `/ctr` for an anonymous volume. */
export function parseVolume(text: string, label: string): MountOption {
  const parts = text.split(":");
  const [first = "", second = "", third] = parts;
  if (parts.length > 3 || parts.includes("")) {
    throw invalid(text, label, "it is not of the form source:target[:options]");
  }
  if (parts.length === 1) return { type: "volume", source: "", target: checkTarget(first, text, label) };

  const source = absolute(first);
  const isBind = source.startsWith("/");
  if (!isBind && !VOLUME_NAME.test(source)) {
    const why = source.includes("/")
      ? "its source is no absolute path"
      : "its volume's name is not made of letters, digits, _ . -";
    throw invalid(
      text,
      label,
      why,
      source.includes("/") ? `Write "./${source}" for a directory below this one` : undefined,
    );
  }
  const mount: Draft = { type: isBind ? "bind" : "volume", source, target: checkTarget(second, text, label) };
  if (isBind) mount.createSource = true;
  if (third !== undefined) volumeOptions(mount, third, text, label);
  return mount;
}

/** `--mount`: `type=bind,source=/host,target=/ctr,readonly`, fields as in a line of CSV. */
export function parseMount(text: string, label: string): MountOption {
  const mount: Draft = { type: "volume", target: "" };
  const only = new Map<string, string>();
  const tmpfs: string[] = [];
  for (const field of splitCsv(text, label)) {
    const equals = field.indexOf("=");
    const key = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    const value = equals < 0 ? undefined : field.slice(equals + 1);
    if (key === "readonly" || key === "ro") {
      mount.readOnly = value === undefined || parseBoolean(value, `${key} of ${label}`);
      continue;
    }
    if (value === undefined || value === "") throw invalid(text, label, `its field "${field}" has no value`);
    if (key === "type") {
      if (value !== "bind" && value !== "volume" && value !== "tmpfs") {
        throw invalid(text, label, `there is no type "${value}"`, "The types are bind, volume and tmpfs");
      }
      mount.type = value;
    } else if (key === "source" || key === "src") mount.source = value;
    else if (key === "target" || key === "destination" || key === "dst") mount.target = checkTarget(value, text, label);
    else if (key === "bind-propagation") {
      if (!isPropagation(value))
        throw invalid(text, label, `there is no propagation "${value}"`, `They are ${PROPAGATIONS.join(", ")}`);
      mount.propagation = value;
      only.set("bind", key);
    } else if (key === "tmpfs-size") {
      tmpfs.push(`size=${parseSize(value, `tmpfs-size of ${label}`)}`);
      only.set("tmpfs", key);
    } else if (key === "tmpfs-mode") {
      tmpfs.push(`mode=${parseMode(value, text, label)}`);
      only.set("tmpfs", key);
    } else if (key !== "consistency") throw invalid(text, label, `it has no field "${key}"`);
  }

  if (mount.target === "") throw invalid(text, label, "its target is missing", 'Add "target=/path"');
  for (const [type, key] of only) {
    if (type !== mount.type) throw invalid(text, label, `"${key}" is for type=${type}, and this is a ${mount.type}`);
  }
  if (mount.type === "bind") {
    mount.source = absolute(mount.source ?? "");
    if (!mount.source.startsWith("/")) throw invalid(text, label, "the source of a bind is no absolute path");
  } else if (mount.type === "volume") {
    mount.source ??= "";
    if (mount.source !== "" && !VOLUME_NAME.test(mount.source)) {
      const hint = mount.source.startsWith("/") ? 'Add "type=bind" for a directory of the host' : undefined;
      throw invalid(text, label, "its volume's name is not made of letters, digits, _ . -", hint);
    }
  } else {
    if (mount.source !== undefined) throw invalid(text, label, "a tmpfs has no source");
    if (tmpfs.length > 0) mount.tmpfs = tmpfs;
  }
  return mount;
}

/** `--tmpfs`: `/ctr[:options]`, the options as tmpfs(5) has them, sizes as Docker has them. */
export function parseTmpfs(text: string, label: string): MountOption {
  const colon = text.indexOf(":");
  const mount: Draft = { type: "tmpfs", target: checkTarget(colon < 0 ? text : text.slice(0, colon), text, label) };
  if (colon < 0) return mount;
  const tmpfs: string[] = [];
  for (const option of text.slice(colon + 1).split(",")) {
    const equals = option.indexOf("=");
    const word = equals < 0 ? option : option.slice(0, equals);
    const value = equals < 0 ? undefined : option.slice(equals + 1);
    if (!TMPFS_WORDS.includes(word) || value === "") throw invalid(text, label, `tmpfs has no option "${option}"`);
    if (word === "ro") mount.readOnly = true;
    else if (word === "size" && value !== undefined && !value.endsWith("%"))
      tmpfs.push(`size=${parseSize(value, `size of ${label}`)}`);
    else if (word === "mode" && value !== undefined) tmpfs.push(`mode=${parseMode(value, text, label)}`);
    else if (word !== "rw") tmpfs.push(option);
  }
  if (tmpfs.length > 0) mount.tmpfs = tmpfs;
  return mount;
}

function volumeOptions(mount: Draft, options: string, text: string, label: string): void {
  const seen = new Set<string>();
  for (const option of options.split(",")) {
    let kind = option;
    if (option === "ro" || option === "rw") {
      kind = "access";
      mount.readOnly = option === "ro";
    } else if (isPropagation(option) && mount.type === "bind") {
      kind = "propagation";
      mount.propagation = option;
    } else if (option === "z" || option === "Z") {
      // SELinux labels: nothing to relabel for, as on any host of Docker's without it.
      kind = "label";
    } else if (option === "cached" || option === "delegated" || option === "consistent") {
      // Means something on a Mac only.
      kind = "consistency";
    } else {
      throw invalid(text, label, `a ${mount.type} has no option "${option}"`);
    }
    if (seen.has(kind)) throw invalid(text, label, `its options say ${kind} twice`);
    seen.add(kind);
  }
}

/** A line of CSV: a field in quotes may contain commas, and quotes doubled. */
function splitCsv(text: string, label: string): string[] {
  const fields: string[] = [];
  let at = 0;
  while (at <= text.length) {
    let end: number;
    if (text[at] === '"') {
      let field = "";
      for (end = at + 1; ; end++) {
        if (end >= text.length) throw invalid(text, label, "a quote is not closed");
        if (text[end] === '"' && text[++end] !== '"') break;
        field += text[end];
      }
      if (end < text.length && text[end] !== ",") throw invalid(text, label, "something follows a closed quote");
      fields.push(field);
    } else {
      end = text.indexOf(",", at);
      if (end < 0) end = text.length;
      const field = text.slice(at, end);
      if (field.includes('"')) throw invalid(text, label, "a quote stands inside a field");
      fields.push(field);
    }
    at = end + 1;
  }
  return fields;
}

/** Makes `.`, `./x` and `../x` absolute paths, and leaves everything else alone: it may name a volume. */
function absolute(path: string): string {
  if (path !== "." && path !== ".." && !path.startsWith("./") && !path.startsWith("../")) return path;
  const parts = process.cwd().split("/");
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "." && part !== "") parts.push(part);
  }
  return `/${parts.filter((part) => part !== "").join("/")}`;
}

function checkTarget(target: string, text: string, label: string): string {
  if (!target.startsWith("/")) throw invalid(text, label, "its target is no absolute path");
  let depth = 0;
  for (const part of target.split("/")) {
    if (part === "..") depth = Math.max(0, depth - 1);
    else if (part !== "" && part !== ".") depth++;
  }
  if (depth === 0) throw invalid(text, label, 'its target is "/"');
  return target;
}

function parseMode(value: string, text: string, label: string): string {
  if (!/^[0-7]{1,5}$/.test(value)) throw invalid(text, label, `"${value}" is no octal mode such as 1777`);
  return value.padStart(4, "0");
}

function isPropagation(word: string): word is Propagation {
  return PROPAGATIONS.includes(word);
}
