import { diffContainer, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { escapeText } from "../escape.ts";
import { writeOut } from "../output.ts";

const LETTERS = { added: "A", modified: "C", deleted: "D" } as const;

export default defineCommand({
  name: "diff",
  summary: "List what a container has added (A), changed (C) and deleted (D) of its image's files",
  operands: { usage: "CONTAINER", min: 1, max: 1 },
  flags: {},
  examples: ["bb diff web"],
  async run({ operands: [name = ""], globals }) {
    const changes = await diffContainer(openEngine(globals), name);
    writeOut(changes.map(({ kind, path }) => `${LETTERS[kind]} ${escapeText(path.toString())}\n`).join(""));
    return 0;
  },
});
