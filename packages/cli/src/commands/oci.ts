import { defineCommand } from "../command.ts";

/** The OCI runtime's own command line, as dist/bb-oci has it: for where there is but the one program. */
export default defineCommand({
  name: "oci",
  summary: "Act as an OCI runtime, for containerd, Docker and Podman",
  operands: { usage: "[OPTION...] COMMAND [ARG...]", min: 0, rest: "all" },
  flags: {},
  failure: 1,
  examples: ["bb oci --help", "bb oci run --bundle ./bundle web"],
  async run({ operands }) {
    const { runOci } = await import("@bantubox/oci");
    return await runOci(operands, { name: "bb oci", words: ["oci"] });
  },
});
