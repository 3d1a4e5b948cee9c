import { listProcesses } from "@bantubox/cgroup";
import { BoxError } from "@bantubox/ffi";
import { cgroupHost } from "../cgroup-host.ts";
import { command } from "../command.ts";
import { getContainer } from "../container.ts";
import { print } from "../log.ts";

export default command({
  name: "ps",
  summary: "Show a container's processes",
  operands: "ID [PS-OPTION...]",
  flags: { format: { type: "string", short: "f", help: '"table" or "json" (default: table)' } },
  count: [1],
  run(globals, { format = "table" }, [id = "", ...options]) {
    const { saved } = getContainer(globals, id);
    const pids = saved === undefined ? [] : listProcesses(cgroupHost(), saved.cgroup);
    if (format === "json") print(JSON.stringify(pids));
    else if (format === "table") printTable(pids, options.length === 0 ? ["-ef"] : options);
    else throw new BoxError("usage", "invalid format option");
    return 0;
  },
});

/** The lines of ps(1) that are about the container: what its columns are is the caller's choice. */
function printTable(pids: readonly number[], options: readonly string[]): void {
  if (Bun.which("ps") === null) throw new BoxError("no-ps", 'Cannot show a table: this host has no program "ps"');
  const { exitCode, stdout, stderr } = Bun.spawnSync(["ps", ...options]);
  if (exitCode !== 0) throw new BoxError("ps-failed", `ps ${options.join(" ")}: ${stderr.toString().trim()}`);
  const [title = "", ...lines] = stdout.toString().trimEnd().split("\n");
  const column = title.trim().split(/\s+/).indexOf("PID");
  if (column === -1) throw new BoxError("ps-failed", "couldn't find PID field in ps output");
  print(title);
  for (const line of lines) if (pids.includes(Number(line.trim().split(/\s+/)[column]))) print(line);
}
