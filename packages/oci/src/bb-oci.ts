#!/usr/bin/env -S bun --config=/dev/null --tsconfig-override=/dev/null --no-env-file
import { runOci } from "./mod.ts";

/** Set by scripts/build.ts in the executable that begins with a front (ffi/c/front-oci.c). */
declare const HAS_FRONT: boolean | undefined;

const args = process.argv.slice(2);
const line = typeof HAS_FRONT === "undefined" ? undefined : args;
// As runc has it: who installs it by another name is told of it by that one.
const own = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);
const name = own === "" || own.startsWith("bun") ? "bb-oci" : own;

process.exitCode = await runOci(args, { name, words: [], line });
