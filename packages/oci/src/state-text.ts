import type { Saved, Status } from "./container.ts";

/** What of a container is not saved, or may be half made. */
interface Now {
  readonly id: string;
  readonly pid: number;
  readonly status: Status;
  /** ISO 8601, UTC. */
  readonly created: string;
}

/** What `state` prints: the specification's state, and what runc adds to it. */
export function stateText(saved: Saved | undefined, { id, pid, status, created }: Now): string {
  const state = {
    ociVersion: saved?.ociVersion ?? "",
    id,
    pid,
    status,
    bundle: saved?.bundle ?? "",
    rootfs: saved?.rootfs ?? "",
    created,
    ...(saved?.annotations && { annotations: saved.annotations }),
    owner: "",
  };
  return `${JSON.stringify(state, undefined, 2)}\n`;
}
