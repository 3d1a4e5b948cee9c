import { exportContainer, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { writeStream } from "../stream-output.ts";

export default defineCommand({
  name: "export",
  summary: "Write a container's files as a tar archive",
  operands: { usage: "CONTAINER", min: 1, max: 1 },
  flags: {
    output: { type: "string", short: "o", value: "FILE", description: "Write to a file instead of standard output" },
  },
  examples: ["bb export -o web.tar web", "bb export web | gzip > web.tar.gz"],
  async run({ flags, operands: [name = ""], globals }) {
    await writeStream(exportContainer(openEngine(globals), name), flags.output, "export");
    return 0;
  },
});
