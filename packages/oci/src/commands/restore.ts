import { command } from "../command.ts";
import { CRIU_FLAGS, criuDirectories, criuOptions } from "../criu-flags.ts";
import { absolute } from "../globals.ts";
import { restoreContainer } from "../restore.ts";

export default command({
  name: "restore",
  summary: "Make a container of a checkpoint, which goes on",
  operands: "ID",
  flags: {
    ...CRIU_FLAGS,
    bundle: { type: "string", short: "b", help: "directory of config.json (default: the current one)" },
    "console-socket": { type: "string", help: "unix socket that gets the master of the container's terminal" },
    "pid-file": { type: "string", help: "file for the pid of the first process" },
    detach: { type: "boolean", short: "d", help: "end when the container goes on" },
    "no-subreaper": { type: "boolean", help: "accepted for runc's sake; changes nothing" },
    "no-pivot": { type: "boolean", help: "accepted, as CRIU enters the root in its own way" },
    "lsm-profile": { type: "string", help: "TYPE:NAME of another AppArmor profile or SELinux label" },
    "lsm-mount-context": { type: "string", help: "SELinux label of mounts" },
  },
  count: [1, 1],
  async run(globals, values, [id = ""]) {
    const path = (given: string | undefined): string | undefined => (given ? absolute(given) : undefined);
    return await restoreContainer(globals, {
      id,
      ...criuDirectories(values),
      mode: values.detach ? "detach" : "foreground",
      bundle: values.bundle,
      pidFile: path(values["pid-file"]),
      consoleSocket: path(values["console-socket"]),
      noPivot: values["no-pivot"] === true,
      lsmProfile: values["lsm-profile"] || undefined,
      lsmMountContext: values["lsm-mount-context"] || undefined,
      criu: criuOptions(values),
    });
  },
});
