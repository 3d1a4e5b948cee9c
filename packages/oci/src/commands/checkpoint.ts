import { BoxError } from "@bantubox/ffi";
import { checkpointContainer } from "../checkpoint.ts";
import { command } from "../command.ts";
import { CRIU_FLAGS, criuDirectories, criuOptions } from "../criu-flags.ts";

export default command({
  name: "checkpoint",
  summary: "Write what a container's processes are into files",
  operands: "ID",
  flags: {
    ...CRIU_FLAGS,
    "parent-path": { type: "string", help: "images of an earlier --pre-dump, relative to the image path" },
    "leave-running": { type: "boolean", help: "let the container go on" },
    "pre-dump": { type: "boolean", help: "write its memory only, and let it go on" },
    "page-server": { type: "string", help: "ADDRESS:PORT of a server that gets the memory" },
    "status-fd": { type: "number", help: "descriptor that gets a zero byte once lazy pages can be asked for" },
  },
  count: [1, 1],
  async run(globals, values, [id = ""]) {
    await checkpointContainer(globals, id, {
      ...criuDirectories(values),
      parent: values["parent-path"] || undefined,
      leaveRunning: values["leave-running"] === true,
      preDump: values["pre-dump"] === true,
      pageServer: parseServer(values["page-server"]),
      statusFd: values["status-fd"],
      criu: criuOptions(values),
    });
    return 0;
  },
});

function parseServer(text: string | undefined): readonly [string, number] | undefined {
  if (!text) return undefined;
  const [, address, port] = /^(.+):([0-9]+)$/.exec(text) ?? [];
  if (address === undefined || port === undefined || Number(port) > 65_535)
    throw new BoxError("usage", "Use --page-server ADDRESS:PORT to specify page server");
  return [address.replace(/^\[(.*)\]$/, "$1"), Number(port)];
}
