import type { ImageSummary, Removed } from "@bantubox/core";
import { escapeText } from "./escape.ts";
import { formatAge, formatDate, formatSize, shortId } from "./format.ts";

/** Columns of `bb images`, as Docker has them. */
export const imageColumns = {
  Repository: "REPOSITORY",
  Tag: "TAG",
  ID: "IMAGE ID",
  CreatedSince: "CREATED",
  Size: "SIZE",
} as const;

export interface RowOptions {
  readonly nowMs: number;
  readonly truncate: boolean;
}

/** An image as tables, templates and `--format json` show it: a row for each of its names; not escaped. */
export function imageRows(image: ImageSummary, { nowMs, truncate }: RowOptions): Record<string, string>[] {
  const createdMs = Date.parse(image.created);
  const names = image.names.length > 0 ? image.names : ["<none>:<none>"];
  return names.map((name) => {
    const colon = name.lastIndexOf(":");
    const repository = colon > name.lastIndexOf("/") ? name.slice(0, colon) : name;
    const digest = image.digests.find((each) => each.startsWith(`${repository}@`));
    return {
      ID: truncate ? shortId(image.id) : image.id,
      Repository: repository,
      Tag: colon > name.lastIndexOf("/") ? name.slice(colon + 1) : "<none>",
      Digest: digest === undefined ? "<none>" : digest.slice(repository.length + 1),
      CreatedSince: Number.isNaN(createdMs) ? "N/A" : formatAge(createdMs, nowMs),
      CreatedAt: Number.isNaN(createdMs) ? "N/A" : formatDate(createdMs),
      Size: formatSize(image.bytes),
      Platform: image.platform,
      Containers: "N/A",
      SharedSize: "N/A",
      UniqueSize: "N/A",
      VirtualSize: formatSize(image.bytes),
    };
  });
}

/** What removing an image did, a line each. */
export function imageLines({ untagged, deleted }: Removed): string {
  const lines = untagged.map((name) => `Untagged: ${name}`);
  if (deleted !== undefined) lines.push(`Deleted: ${deleted}`);
  return lines.map(escapeText).join("\n");
}
