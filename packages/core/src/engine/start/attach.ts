import { BoxError, MONITOR, O, Plan } from "@bantubox/ffi";
import { becomePlan } from "../../runtime/become.ts";
import { RECORD } from "../../runtime/records.ts";
import { type Container, getContainer } from "../state/container.ts";
import { type Engine, runDirectory } from "../state/engine.ts";
import { isLocked } from "../state/lock.ts";
import { getProcess } from "../state/process.ts";
import { parseDetachKeys } from "./detach-keys.ts";

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;

export interface AttachOptions {
  readonly noStdin?: boolean | undefined;
  readonly detachKeys?: string | undefined;
}

/** Becomes another client of a container that runs: what it prints from now on, and its end, are this process's. */
export async function attachForeground(
  engine: Engine,
  idOrName: string,
  { noStdin = false, detachKeys }: AttachOptions = {},
): Promise<never> {
  const container = getContainer(engine, idOrName);
  getProcess(engine, container, "attach to").pidfd.close();
  if (!isLocked(engine, container.id)) throw noMonitor(container);
  const { launch } = container;
  const plan = new Plan();
  const connection = plan.register();
  const address = plan.bytes(new TextEncoder().encode(`\u0001\u0000${RECORD.attach}\u0000`));
  // By a relative name: the whole path may be longer than a socket's address holds.
  plan.prepare.sys("chdir", runDirectory(engine, container.id));
  plan.prepare.sys("socket", AF_UNIX, SOCK_SEQPACKET | O.CLOEXEC, 0).into(connection);
  plan.prepare.sys("connect", connection, address, RECORD.attach.length + 3);
  plan.prepare.sys("chdir", "/");
  const reads = launch.interactive && !noStdin;
  return await becomePlan(
    plan.encode({
      flags: MONITOR.CLIENT_ONLY | MONITOR.ATTACH | (launch.tty ? MONITOR.TTY : 0) | (reads ? MONITOR.STDIN : 0),
      pid: plan.register(2),
      connection,
      environment: plan.strings([]),
      detachKeys: parseDetachKeys(detachKeys ?? launch.detachKeys),
    }),
  );
}

/** The monitor holds the container's lock for as long as it lives; what the container prints goes nowhere without it. */
function noMonitor({ name }: Container): BoxError {
  return new BoxError("no-monitor", `Cannot attach to "${name}": its monitor was killed`, {
    hint: `Run commands in it with "bb exec ${name} …"; "bb stop ${name}" and "bb start ${name}" give it a new one`,
  });
}
