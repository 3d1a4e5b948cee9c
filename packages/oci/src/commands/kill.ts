import { signalCgroup } from "@bantubox/cgroup";
import { attempt, BoxError, ERRNO, SIGNALS, SysError } from "@bantubox/ffi";
import { cgroupHost } from "../cgroup-host.ts";
import { command } from "../command.ts";
import { type Container, getContainer, openProcess } from "../container.ts";

export default command({
  name: "kill",
  summary: "Send a signal to a container",
  operands: "ID [SIGNAL]",
  flags: { all: { type: "boolean", short: "a", help: "to all of its processes" } },
  count: [1, 2],
  run(globals, { all }, [id = "", signal = "SIGTERM"]) {
    const container = getContainer(globals, id);
    const number = parseSignal(signal);
    if (all) return killAll(container, number);
    const process = openProcess(container);
    if (process === undefined) throw notRunning();
    using pidfd = process.pidfd;
    const result = attempt("pidfd_send_signal", pidfd.raw, number, null, 0);
    if (result === -ERRNO.ESRCH) throw notRunning();
    if (result < 0) throw new SysError("pidfd_send_signal", -result, `signal ${number}`);
    return 0;
  },
});

function notRunning(): BoxError {
  return new BoxError("container-not-running", "container not running");
}

/** Whoever is in its groups, also when its first process has ended. */
function killAll({ saved }: Container, number: number): number {
  if (saved !== undefined) signalCgroup(cgroupHost(), saved.cgroup, number);
  return 0;
}

/** A number, or a name with SIG or without; 0 only asks whether it could be sent. @throws {BoxError} `bad-signal` */
function parseSignal(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, "");
  const number = /^[0-9]+$/.test(text) ? Number(text) : (SIGNALS as Readonly<Record<string, number>>)[name];
  if (number !== undefined && number >= 0 && number <= 64) return number;
  throw new BoxError("bad-signal", `unknown signal ${JSON.stringify(text)}`);
}
