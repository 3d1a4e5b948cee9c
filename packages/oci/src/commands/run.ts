import { command } from "../command.ts";
import { MAKE_FLAGS, makeContainer, makeOptions } from "../make.ts";

export default command({
  name: "run",
  summary: "Create and start a container",
  operands: "ID",
  flags: {
    ...MAKE_FLAGS,
    detach: { type: "boolean", short: "d", help: "end when the command runs" },
    keep: { type: "boolean", help: "leave the state when it has ended" },
    "no-subreaper": { type: "boolean", help: "accepted for runc's sake; changes nothing" },
  },
  count: [1, 1],
  async run(globals, values, [id = ""]) {
    return await makeContainer(globals, {
      ...makeOptions(values),
      id,
      mode: values.detach ? "detach" : "foreground",
      keeps: values.keep === true,
    });
  },
});
