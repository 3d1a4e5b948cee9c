import { command } from "../command.ts";
import { MAKE_FLAGS, makeContainer, makeOptions } from "../make.ts";

export default command({
  name: "create",
  summary: "Create a container, held before its command",
  operands: "ID",
  flags: MAKE_FLAGS,
  count: [1, 1],
  async run(globals, values, [id = ""]) {
    return await makeContainer(globals, { ...makeOptions(values), id, mode: "create" });
  },
});
