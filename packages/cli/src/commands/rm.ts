import { BoxError, isErrno, openEngine, removeContainer, removeImage } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { forEachName } from "../each.ts";
import { imageLines } from "../image-row.ts";

export default defineCommand({
  name: "rm",
  summary: "Remove containers, and images that no container has the name of",
  operands: { usage: "CONTAINER|IMAGE [CONTAINER|IMAGE...]", min: 1 },
  flags: {
    force: { type: "boolean", short: "f", description: "Kill it first if it runs; no error if there is none" },
    volumes: { type: "boolean", short: "v", description: "Remove its anonymous volumes too" },
  },
  examples: ["bb rm web", "bb rm -f $(bb ps -aq)", "bb rm alpine:3.20"],
  async run({ flags, operands, globals, group }) {
    const engine = openEngine(globals);
    const force = flags.force === true;
    return await forEachName(operands, globals, async (name) => {
      try {
        await removeContainer(engine, name, { force, volumes: flags.volumes === true });
        return name;
      } catch (error) {
        if (!isErrno(error, "no-such-container")) throw error;
        if (group === "container") {
          if (force) return undefined;
          throw error;
        }
      }
      try {
        return imageLines(await removeImage(engine, name, { force }));
      } catch (error) {
        if (!isErrno(error, "no-such-image")) throw error;
        if (force) return undefined;
        throw new BoxError(
          "no-such-container",
          `Cannot remove ${JSON.stringify(name)}: no container and no image has this name`,
          {
            hint: 'See "bb ps -a" and "bb images"',
          },
        );
      }
    });
  },
});
