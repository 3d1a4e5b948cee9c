import { listVolumes, openEngine, type VolumeSummary } from "@bantubox/core";
import { defineCommand } from "../../command.ts";
import { formatDate } from "../../format.ts";
import { formatListing } from "../../listing.ts";
import { writeOut } from "../../output.ts";
import { usageError } from "../../usage.ts";
import { parseBoolean } from "../../values/number.ts";

export default defineCommand({
  name: "volume ls",
  summary: "List volumes",
  operands: { usage: "", min: 0, max: 0 },
  flags: {
    filter: { type: "list", short: "f", value: "KEY=VALUE", description: "Only these: name, dangling, driver" },
    format: {
      type: "string",
      value: "FORMAT",
      description: 'Print as "json", or by a template such as "{{.Name}} {{.Mountpoint}}"',
    },
    quiet: { type: "boolean", short: "q", description: "Print only names" },
  },
  examples: ["bb volume ls", "bb volume ls -q --filter dangling=true"],
  async run({ flags: { filter = [], format, quiet }, globals }) {
    const tests = filter.map(parseFilter);
    const volumes = (await listVolumes(openEngine(globals))).filter((volume) => tests.every((test) => test(volume)));
    const rows = volumes.map(({ name, mountpoint, createdMs, containers }) => ({
      Driver: "local",
      Name: name,
      Mountpoint: mountpoint,
      CreatedAt: formatDate(createdMs),
      Scope: "local",
      Links: String(containers.length),
    }));
    const columns = { Driver: "DRIVER", Name: "VOLUME NAME" };
    writeOut(formatListing({ columns, rows, format, quiet: quiet ? "Name" : undefined }));
    return 0;
  },
});

function parseFilter(filter: string): (volume: VolumeSummary) => boolean {
  const [, key, value = ""] = /^([a-z]+)=(.+)$/s.exec(filter) ?? [];
  switch (key) {
    case "name":
      return ({ name }) => name.includes(value);
    case "driver":
      return () => value === "local";
    case "dangling": {
      const wanted = parseBoolean(value, "--filter dangling");
      return ({ containers }) => (containers.length === 0) === wanted;
    }
    default:
      throw usageError(
        `Cannot use ${JSON.stringify(filter)} for --filter: there is no such filter`,
        "The filters are name=, dangling= and driver=",
      );
  }
}
