import { type DiskUsage, diskUsage, openEngine } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { containerRow } from "../../container-row.ts";
import { formatAge, formatSize, shortId } from "../../format.ts";
import { formatListing } from "../../listing.ts";
import { writeOut } from "../../output.ts";

const columns = {
  Type: "TYPE",
  TotalCount: "TOTAL",
  Active: "ACTIVE",
  Size: "SIZE",
  Reclaimable: "RECLAIMABLE",
} as const;

export default defineCommand({
  name: "system df",
  summary: "Show what images, containers and volumes take on disk",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    verbose: { type: "boolean", short: "v", description: "Each of them by itself" },
    format: {
      type: "string",
      value: "FORMAT",
      description: 'Print as "json", or by a template such as "{{.Type}} {{.Size}}"',
    },
  },
  examples: ["bb system df", "bb system df -v", "bb system df --format '{{.Type}}: {{.Reclaimable}}'"],
  async run({ flags: { verbose, format }, globals }) {
    const usage = await diskUsage(openEngine(globals));
    if (!verbose) writeOut(formatListing({ columns, rows: rowsOf(usage), format }));
    else if (format === undefined) writeOut(tablesOf(detailsOf(usage)));
    else writeOut(formatListing({ columns: {}, rows: [detailsOf(usage)], format }));
    return 0;
  },
});

/** As Docker's three rows; there is no build cache. */
function rowsOf({
  images,
  layerBytes,
  reclaimableLayerBytes,
  containers,
  volumes,
}: DiskUsage): Record<string, string>[] {
  const isRunning = ({ status }: { status: string }): boolean => status === "running" || status === "paused";
  const isUsed = ({ containers: users }: { containers: readonly string[] }): boolean => users.length > 0;
  return [
    row(
      "Images",
      images.length,
      images.filter((each) => each.containers > 0).length,
      layerBytes,
      reclaimableLayerBytes,
    ),
    row(
      "Containers",
      containers.length,
      containers.filter(isRunning).length,
      total(containers),
      total(containers.filter((each) => !isRunning(each))),
    ),
    row(
      "Local Volumes",
      volumes.length,
      volumes.filter(isUsed).length,
      total(volumes),
      total(volumes.filter((each) => !isUsed(each))),
    ),
  ];
}

function total(things: readonly { readonly bytes: number }[]): number {
  return things.reduce((sum, { bytes }) => sum + bytes, 0);
}

function row(type: string, count: number, active: number, bytes: number, reclaimable: number): Record<string, string> {
  const share = bytes === 0 ? "" : ` (${Math.floor((reclaimable / bytes) * 100)}%)`;
  return {
    Type: type,
    TotalCount: String(count),
    Active: String(active),
    Size: formatSize(bytes),
    Reclaimable: `${formatSize(reclaimable)}${share}`,
  };
}

type Row = Record<string, string>;
/** Names as in Docker's JSON. */
type Details = Record<"Images" | "Containers" | "Volumes", Row[]>;

function detailsOf({ images, containers, volumes }: DiskUsage): Details {
  const nowMs = Date.now();
  const imageRows = images.flatMap((image) =>
    (image.names.length > 0 ? image.names : ["<none>:<none>"]).map((name) => {
      const colon = name.lastIndexOf(":");
      const createdMs = Date.parse(image.created);
      return {
        Repository: name.slice(0, colon),
        Tag: name.slice(colon + 1),
        ID: shortId(image.id),
        CreatedSince: Number.isNaN(createdMs) ? "N/A" : formatAge(createdMs, nowMs),
        Size: formatSize(image.bytes),
        SharedSize: formatSize(image.sharedBytes),
        UniqueSize: formatSize(image.uniqueBytes),
        Containers: String(image.containers),
      };
    }),
  );
  const containerRows = containers.map((container) => ({
    ...containerRow(container, { nowMs, truncate: true }),
    LocalVolumes: String(volumes.filter((volume) => volume.containers.includes(container.name)).length),
    Size: formatSize(container.bytes),
  }));
  const volumeRows = volumes.map(({ name, containers: users, bytes }) => ({
    Name: name,
    Links: String(users.length),
    Size: formatSize(bytes),
  }));
  return { Images: imageRows, Containers: containerRows, Volumes: volumeRows };
}

function tablesOf({ Images, Containers, Volumes }: Details): string {
  const imageColumns = {
    Repository: "REPOSITORY",
    Tag: "TAG",
    ID: "IMAGE ID",
    CreatedSince: "CREATED",
    Size: "SIZE",
    SharedSize: "SHARED SIZE",
    UniqueSize: "UNIQUE SIZE",
    Containers: "CONTAINERS",
  };
  const containerColumns = {
    ID: "CONTAINER ID",
    Image: "IMAGE",
    Command: "COMMAND",
    LocalVolumes: "LOCAL VOLUMES",
    Size: "SIZE",
    RunningFor: "CREATED",
    Status: "STATUS",
    Names: "NAMES",
  };
  return [
    `Images space usage:\n\n${formatListing({ columns: imageColumns, rows: Images })}`,
    `Containers space usage:\n\n${formatListing({ columns: containerColumns, rows: Containers })}`,
    `Local Volumes space usage:\n\n${formatListing({ columns: { Name: "VOLUME NAME", Links: "LINKS", Size: "SIZE" }, rows: Volumes })}`,
  ].join("\n");
}
