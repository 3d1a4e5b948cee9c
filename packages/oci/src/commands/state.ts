import { command } from "../command.ts";
import { getContainer, statusOf } from "../container.ts";
import { print } from "../log.ts";
import { stateText } from "../state-text.ts";

export default command({
  name: "state",
  summary: "Show the state of a container",
  operands: "ID",
  flags: {},
  count: [1, 1],
  run(globals, _, [id = ""]) {
    const container = getContainer(globals, id);
    const { status, pid } = statusOf(container);
    const { saved } = container;
    print(stateText(saved, { id, pid, status, created: saved?.created ?? "" }).trimEnd());
    return 0;
  },
});
