import { CGROUPS_MODE } from "@bantubox/core/runtime/criu";
import { BoxError, CLONE } from "@bantubox/ffi";
import { absolute } from "./globals.ts";

/** Options that `checkpoint` and `restore` share. */
export const CRIU_FLAGS = {
  "image-path": { type: "string", help: "directory of CRIU's images (default: ./checkpoint)" },
  "work-path": { type: "string", help: "directory of CRIU's logs (default: that of the images)" },
  "tcp-established": { type: "boolean", help: "allow open TCP connections" },
  "ext-unix-sk": { type: "boolean", help: "allow unix sockets that are connected to others outside" },
  "shell-job": { type: "boolean", help: "allow processes of a session or terminal outside" },
  "file-locks": { type: "boolean", help: "allow locks of files" },
  "manage-cgroups-mode": { type: "string", help: '"soft" (default), "full" or "strict"' },
  "empty-ns": { type: "list", help: "namespace whose content is left out: network" },
  "auto-dedup": { type: "boolean", help: "leave out what an earlier image has" },
  "lazy-pages": { type: "boolean", help: "pass memory on later, when it is asked for" },
} as const;

type Values = { readonly [Name in keyof typeof CRIU_FLAGS]?: string | boolean | readonly string[] | undefined };

/** Options that are CRIU's own. @throws {BoxError} `usage` */
export function criuOptions(values: Values) {
  const mode = values["manage-cgroups-mode"] as string | undefined;
  if (mode && !Object.hasOwn(CGROUPS_MODE, mode)) throw new BoxError("usage", "Invalid manage cgroups mode");
  for (const type of (values["empty-ns"] as readonly string[] | undefined) ?? []) {
    if (type !== "network") throw new BoxError("usage", `namespace "${type}" is not supported`);
  }
  return {
    tcpEstablished: values["tcp-established"] === true,
    extUnixSk: values["ext-unix-sk"] === true,
    shellJob: values["shell-job"] === true,
    fileLocks: values["file-locks"] === true,
    autoDedup: values["auto-dedup"] === true,
    lazyPages: values["lazy-pages"] === true,
    cgroupsMode: mode ? CGROUPS_MODE[mode] : undefined,
    // Its links are an engine's business, never the runtime's.
    emptyNamespaces: CLONE.NEWNET,
  };
}

/** Absolute directories of the images and of the logs. */
export function criuDirectories(values: Values): { images: string; work: string } {
  const images = absolute((values["image-path"] as string | undefined) || "checkpoint");
  const work = values["work-path"] as string | undefined;
  return { images, work: work ? absolute(work) : images };
}

/** CRIU's own configuration file, by the annotation that runc reads. */
export function configFile(annotations: Readonly<Record<string, string>> | undefined): string | undefined {
  const named = annotations?.["org.criu.config"];
  return named === undefined ? "/etc/criu/runc.conf" : named || undefined;
}

/** Files beside CRIU's images: what stood at 0, 1 and 2, as runc has it; the mounts that are the host's. */
export const DESCRIPTORS = "descriptors.json";
export const MOUNTS = "mounts.json";
