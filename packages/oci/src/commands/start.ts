import { command } from "../command.ts";
import { startContainer } from "../start.ts";

export default command({
  name: "start",
  summary: "Let a created container run its command",
  operands: "ID",
  flags: {},
  count: [1, 1],
  async run(globals, _, [id = ""]) {
    await startContainer(globals, id);
    return 0;
  },
});
