import { isatty } from "node:tty";
import { BoxError, loadImages, openEngine } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { escapeText } from "../escape.ts";
import { printLine } from "../output.ts";
import { showProgress } from "../progress.ts";

export default defineCommand({
  name: "load",
  summary: "Take in the images of an archive",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    input: {
      type: "string",
      short: "i",
      value: "PATH",
      description: "Archive, or directory of an OCI layout, instead of standard input",
    },
    platform: { type: "string", value: "OS/ARCH", description: "Only images for this platform, such as linux/arm64" },
    quiet: { type: "boolean", short: "q", description: "Show no progress" },
  },
  examples: [
    "bb load -i app.tar",
    "bb load < app.tar.gz",
    "skopeo copy docker://alpine oci:layout && bb load -i layout",
  ],
  async run({ flags: { input, platform, quiet }, globals }) {
    if (input === undefined && isatty(0)) {
      throw new BoxError("terminal", "Cannot load from a terminal: an archive is not text", {
        hint: "Redirect standard input, or name a file with -i",
      });
    }
    using view = quiet ? undefined : showProgress();
    const loaded = await loadImages(openEngine(globals), input ?? 0, {
      ...(platform !== undefined && { platform }),
      ...(view !== undefined && { onProgress: view.onProgress }),
    });
    for (const { id, names } of loaded) {
      if (names.length === 0) printLine(`Loaded image ID: ${escapeText(id)}`);
      for (const name of names) printLine(`Loaded image: ${escapeText(name)}`);
    }
    return 0;
  },
});
