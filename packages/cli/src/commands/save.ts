import { isatty } from "node:tty";
import { BoxError, openEngine, type SaveFormat, saveImages } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { showProgress } from "../progress.ts";
import { invalid, usageError } from "../usage.ts";

const FORMATS: readonly string[] = ["docker-archive", "oci-archive", "oci-dir"] satisfies SaveFormat[];

function parseFormat(text: string, label: string): SaveFormat {
  if (FORMATS.includes(text)) return text as SaveFormat;
  throw invalid(text, label, "there is no such format", `The formats are ${FORMATS.join(", ")}`);
}

export default defineCommand({
  name: "save",
  summary: "Write images to an archive that docker, podman and skopeo load",
  operands: { usage: "IMAGE [IMAGE...]", min: 1 },
  flags: {
    output: { type: "string", short: "o", value: "PATH", description: "File or directory, instead of standard output" },
    format: {
      type: "string",
      value: "FORMAT",
      parse: parseFormat,
      description: "docker-archive (default; an OCI archive as well), oci-archive, or oci-dir",
    },
  },
  examples: [
    "bb save -o app.tar app:1.0 app:1.1",
    "bb save debian | ssh host bb load",
    "bb save --format oci-dir -o ./layout app",
  ],
  async run({ flags: { output, format }, operands, globals }) {
    if (output === undefined && format === "oci-dir") {
      throw usageError("Cannot save a layout to standard output: it is a directory", "Name it with -o");
    }
    if (output === undefined && isatty(1)) {
      throw new BoxError("terminal", "Cannot save to a terminal: an archive is not text", {
        hint: "Redirect standard output, or name a file with -o",
      });
    }
    // Beside a pipe there is often another command that draws on the same terminal.
    using view = output !== undefined && isatty(2) ? showProgress() : undefined;
    await saveImages(openEngine(globals), operands, output ?? 1, {
      ...(format !== undefined && { format }),
      ...(view !== undefined && { onProgress: view.onProgress }),
    });
    return 0;
  },
});
