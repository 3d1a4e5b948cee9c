import { AT, ERRNO, type Reg } from "@bantubox/ffi";
import type { Build } from "./build.ts";
import { TAG } from "./tags.ts";
import { connectSocket } from "./unix-socket.ts";

/** Whom a process is made known to; absolute paths. */
export interface Announcement {
  /** Gets its pid, in digits and nothing else. */
  readonly pidFile?: string | undefined;
  /** Gets its pidfd. */
  readonly pidfdSocket?: string | undefined;
}

/** In PARENT. The working directory is another one afterwards. @param pid Its pidfd is in the next register. */
export function announce(build: Build, { pidFile, pidfdSocket }: Announcement, pid: Reg): void {
  const { parent, undo } = build.plan;
  if (pidFile !== undefined) {
    parent.builtin("writePid", `${pidFile}.new`, pidFile, pid).tag(TAG.STATE);
    undo.sys("unlinkat", AT.FDCWD, pidFile, 0).tolerate(ERRNO.ENOENT);
  }
  if (pidfdSocket !== undefined) {
    const socket = connectSocket(build, parent, pidfdSocket, TAG.CONSOLE);
    parent.builtin("passFd", socket, pid.next(), "pidfd", 5).tag(TAG.CONSOLE);
    parent.sys("close", socket);
  }
}
