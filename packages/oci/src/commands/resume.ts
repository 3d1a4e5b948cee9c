import { thawCgroup } from "@bantubox/cgroup";
import { BoxError } from "@bantubox/ffi";
import { cgroupHost } from "../cgroup-host.ts";
import { command } from "../command.ts";
import { getContainer, isPaused } from "../container.ts";

export default command({
  name: "resume",
  summary: "Let a paused container go on",
  operands: "ID",
  flags: {},
  count: [1, 1],
  run(globals, _, [id = ""]) {
    const container = getContainer(globals, id);
    const { saved } = container;
    if (saved === undefined || !isPaused(container)) throw new BoxError("container-not-paused", "container not paused");
    thawCgroup(cgroupHost(), saved.cgroup);
    return 0;
  },
});
