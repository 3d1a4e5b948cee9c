#!/usr/bin/env -S bun --config=/dev/null --tsconfig-override=/dev/null --no-env-file
import { dispatch } from "./dispatch.ts";
import { scrubEnvironment } from "./environment.ts";

scrubEnvironment();
// Roots, layers and volumes are for their containers' users, whatever the caller keeps from others.
process.umask(0o022);
// Everything we print is written when it is printed, so the loop has nothing left to drain but timers and sockets.
process.exitCode = await dispatch(process.argv.slice(2));
