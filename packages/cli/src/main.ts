#!/usr/bin/env -S bun --config=/dev/null --tsconfig-override=/dev/null --no-env-file
import { dispatch } from "./dispatch.ts";
import { scrubEnvironment } from "./environment.ts";

scrubEnvironment();
// Everything we print is written when it is printed, so the loop has nothing left to drain but timers and sockets.
process.exitCode = await dispatch(process.argv.slice(2));
