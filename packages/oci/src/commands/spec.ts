import { BoxError, existsSync, writeNewSync } from "@bantubox/ffi";
import { command } from "../command.ts";
import { defaultConfig, rootlessConfig } from "../default-config.ts";
import { absolute } from "../globals.ts";

export default command({
  name: "spec",
  summary: "Write a config.json to begin with",
  operands: "",
  flags: {
    bundle: { type: "string", short: "b", help: "directory of the bundle (default: the current one)" },
    rootless: { type: "boolean", help: "for a user other than root" },
  },
  count: [0, 0],
  run(_, { bundle = ".", rootless }) {
    const path = `${absolute(bundle)}/config.json`;
    if (existsSync(path)) throw new BoxError("config-exists", `File ${path} exists. Remove it first`);
    const config = rootless ? rootlessConfig(process.getuid?.() ?? 0, process.getgid?.() ?? 0) : defaultConfig();
    writeNewSync(path, JSON.stringify(config, undefined, "\t"), 0o666);
    return 0;
  },
});
