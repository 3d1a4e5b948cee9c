/** Extracts the layer `argv[2]` into the new directory `argv[3]`, for run.ts to measure. */
import { mkdirSync } from "node:fs";
import { extractLayer } from "../packages/image/src/layer.ts";

const [, , blob = "", directory = ""] = process.argv;
mkdirSync(directory);
await extractLayer({ blob, directory });
