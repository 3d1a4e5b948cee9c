/** Extracts the layer `argv[2]` into the new directory `argv[3]` as a pull does, for run.ts to measure. */
import { closeSync, fstatSync, mkdirSync, openSync } from "node:fs";
import { Growth } from "../packages/image/src/layer/layer-growth.ts";
import { LayerThreads } from "../packages/image/src/layer/layer-threads.ts";

const [, , blob = "", directory = ""] = process.argv;
mkdirSync(directory);
using threads = new LayerThreads();
const fd = openSync(blob, "r");
const growth = new Growth();
growth.reach(fstatSync(fd).size);
growth.complete();
await threads.extract({ fd, growth, unpack: { directory } });
closeSync(fd);
