import { command } from "../command.ts";
import { checkId, findContainer, getContainer } from "../container.ts";
import { removeContainer } from "../remove.ts";

export default command({
  name: "delete",
  summary: "Delete what a container has left",
  operands: "ID",
  flags: { force: { type: "boolean", short: "f", help: "kill it if it runs; nothing there is fine" } },
  count: [1, 1],
  async run(globals, { force = false }, [id = ""]) {
    if (force) checkId(id);
    const container = force ? findContainer(globals, id) : getContainer(globals, id);
    if (container !== undefined) await removeContainer(globals, container, force);
    return 0;
  },
});
