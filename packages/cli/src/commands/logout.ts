import { logout } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { escapeText } from "../escape.ts";
import { printLine } from "../output.ts";

export default defineCommand({
  name: "logout",
  summary: "Log out of a registry",
  operands: { usage: "[REGISTRY]", min: 0, max: 1 },
  flags: {},
  examples: ["bb logout", "bb logout registry.example.org:5000"],
  async run({ operands: [server] }) {
    const { registry, wasKnown } = await logout(server);
    printLine(`${wasKnown ? "Removing login credentials for" : "Not logged in to"} ${escapeText(registry)}`);
    return 0;
  },
});
