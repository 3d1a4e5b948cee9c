#!/usr/bin/env -S bun --config=/dev/null --tsconfig-override=/dev/null --no-env-file
import { runOci } from "./mod.ts";

process.exitCode = await runOci(process.argv.slice(2), { name: "bb-oci", words: [] });
