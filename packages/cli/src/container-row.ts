import type { ContainerSummary } from "@bantubox/core";
import { formatAge, formatCommand, formatDate, formatDuration, shortId } from "./format.ts";

/** Columns of `bb ps`, as Docker has them. */
export const containerColumns = {
  ID: "CONTAINER ID",
  Image: "IMAGE",
  Command: "COMMAND",
  RunningFor: "CREATED",
  Status: "STATUS",
  Ports: "PORTS",
  Names: "NAMES",
} as const;

export interface RowOptions {
  readonly nowMs: number;
  readonly truncate: boolean;
}

/** A container as table, template and `--format json` show it, with Docker's field names; not escaped. */
export function containerRow(container: ContainerSummary, { nowMs, truncate }: RowOptions): Record<string, string> {
  const { id, name, image, command, createdMs, status, labels, network } = container;
  return {
    ID: truncate ? shortId(id) : id,
    Image: image,
    Command: formatCommand(command, truncate),
    CreatedAt: formatDate(createdMs),
    RunningFor: formatAge(createdMs, nowMs),
    Status: statusText(container, nowMs),
    State: status,
    Ports: "",
    Names: name,
    Networks: network,
    Labels: Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
  };
}

/** `Up 3 minutes`, `Exited (0) 2 hours ago`. */
function statusText(
  {
    status,
    startedMs,
    finishedMs,
    exitCode,
  }: Pick<ContainerSummary, "status" | "startedMs" | "finishedMs" | "exitCode">,
  nowMs: number,
): string {
  switch (status) {
    case "created":
      return "Created";
    case "exited":
      return `Exited (${exitCode ?? "?"})${finishedMs === undefined ? "" : ` ${formatAge(finishedMs, nowMs)}`}`;
    case "running":
    case "paused": {
      const up = startedMs === undefined ? "Up" : `Up ${formatDuration(Math.max(0, nowMs - startedMs))}`;
      return status === "paused" ? `${up} (Paused)` : up;
    }
  }
}
