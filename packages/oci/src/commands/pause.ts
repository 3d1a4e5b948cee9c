import { freezeCgroup } from "@bantubox/cgroup";
import { BoxError } from "@bantubox/ffi";
import { cgroupHost } from "../cgroup-host.ts";
import { command } from "../command.ts";
import { getContainer, statusOf } from "../container.ts";

export default command({
  name: "pause",
  summary: "Stop a container's processes where they are",
  operands: "ID",
  flags: {},
  count: [1, 1],
  run(globals, _, [id = ""]) {
    const container = getContainer(globals, id);
    const { status } = statusOf(container);
    if (container.saved === undefined || (status !== "running" && status !== "created")) {
      throw new BoxError(
        "container-not-running",
        status === "paused" ? "container already paused" : "container not running or created",
      );
    }
    freezeCgroup(cgroupHost(), container.saved.cgroup);
    return 0;
  },
});
