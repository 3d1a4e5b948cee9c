import { command } from "../command.ts";
import { getContainer, statusOf } from "../container.ts";
import { print } from "../log.ts";

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
    const state = {
      ociVersion: saved?.ociVersion ?? "",
      id,
      pid,
      status,
      bundle: saved?.bundle ?? "",
      rootfs: saved?.rootfs ?? "",
      created: saved?.created ?? "",
      ...(saved?.annotations && { annotations: saved.annotations }),
      owner: "",
    };
    print(JSON.stringify(state, undefined, 2));
    return 0;
  },
});
