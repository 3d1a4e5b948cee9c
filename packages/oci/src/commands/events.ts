import { readOomKills } from "@bantubox/cgroup";
import { BoxError, type Fd } from "@bantubox/ffi";
import { cgroupHost } from "../cgroup-host.ts";
import { command } from "../command.ts";
import { getContainer, openProcess } from "../container.ts";
import { parseDuration } from "../duration.ts";
import { print } from "../log.ts";
import { readOciStats } from "../stats.ts";
import { waitEnd } from "../wait-end.ts";

/** How often the kernel's count of killed processes is read. */
const OOM_POLL_MS = 200;

export default command({
  name: "events",
  summary: "Show a container's statistics, and its lack of memory",
  operands: "ID",
  flags: {
    interval: { type: "string", help: "how often statistics are shown (default: 5s)" },
    stats: { type: "boolean", help: "show them once" },
  },
  count: [1, 1],
  run(globals, { interval = "5s", stats }, [id = ""]) {
    const everyMs = parseDuration(interval);
    if (everyMs <= 0) throw new BoxError("usage", "duration interval must be greater than 0");
    const container = getContainer(globals, id);
    const process = openProcess(container);
    const { saved } = container;
    if (process === undefined || saved === undefined)
      throw new BoxError("container-not-running", `container with id ${id} is not running`);
    using pidfd = process.pidfd;
    const show = (): void =>
      print(JSON.stringify({ type: "stats", id, data: readOciStats(cgroupHost(), saved.cgroup) }));
    if (stats) show();
    else
      watch({
        pidfd,
        group: saved.cgroup,
        everyMs,
        show,
        onOom: () => print(JSON.stringify({ type: "oom", id })),
      });
    return 0;
  },
});

interface Watch {
  readonly pidfd: Fd;
  readonly group: string;
  readonly everyMs: number;
  readonly show: () => void;
  readonly onOom: () => void;
}

/** Until the container has ended. Asking the kernel's counter is the same on v1 and v2, and no event is lost between two. */
function watch({ pidfd, group, everyMs, show, onOom }: Watch): void {
  let kills = readOomKills(cgroupHost(), group) ?? 0;
  let next = performance.now() + everyMs;
  for (let hasEnded = false; !hasEnded; ) {
    hasEnded = waitEnd(pidfd, Math.min(OOM_POLL_MS, Math.max(1, next - performance.now())));
    const now = readOomKills(cgroupHost(), group) ?? kills;
    for (; kills < now; kills++) onOom();
    if (hasEnded || performance.now() < next) continue;
    show();
    next += everyMs;
  }
}
