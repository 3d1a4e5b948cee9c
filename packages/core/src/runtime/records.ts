/** Names of what the monitor leaves in a container's directories; engine/state/status.ts reads it. */
export const RECORD = { pid: "pid", exit: "exit", attach: "attach", log: "log" } as const;

/** What the name of a container's directory begins with while its files are removed. */
export const GONE = ".gone-";

export function goneDirectory(directory: string): string {
  const slash = directory.lastIndexOf("/") + 1;
  return `${directory.slice(0, slash)}${GONE}${directory.slice(slash)}`;
}

/** What PID 1 waits at between create and start: as long as it does, the fifo has a reader. */
export const FIFO = "exec.fifo";
