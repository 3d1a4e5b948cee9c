/** socketcall(2) and ipc(2) of i386: one number for many calls, the first argument says which. */
import { type Comparison, narrow, parseComparison } from "./argument.ts";

export interface Multiplexed {
  readonly via: "socketcall" | "ipc";
  /** Holds when `via` is called for this call. */
  readonly selector: Comparison;
}

// In the order of SYS_SOCKET = 1 and following, <linux/net.h>.
const SOCKETCALL = `
  socket bind connect listen accept getsockname getpeername socketpair send recv
  sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg
`;

// <linux/ipc.h>; 0 stands for a number that is not used.
const IPC = `
  semop semget semctl semtimedop 0 0 0 0 0 0
  msgsnd msgrcv msgget msgctl 0 0 0 0 0 0
  shmat shmdt shmget shmctl
`;

// ipc() has a version of the interface above the call's number.
const IPC_CALL_MASK = 0xffff;

const CALLS = new Map<string, Multiplexed>();
words(SOCKETCALL).forEach((name, index) => {
  const selector = parseComparison({ index: 0, op: "SCMP_CMP_EQ", value: index + 1 });
  CALLS.set(name, { via: "socketcall", selector: narrow(selector) });
});
words(IPC).forEach((name, index) => {
  const compared = { index: 0, op: "SCMP_CMP_MASKED_EQ", value: IPC_CALL_MASK, valueTwo: index + 1 };
  CALLS.set(name, { via: "ipc", selector: narrow(parseComparison(compared)) });
});

/** Tells how `name` is reached on i386 besides by its own number, if at all. */
export function multiplexed(name: string): Multiplexed | undefined {
  return CALLS.get(name);
}

function words(list: string): string[] {
  return list.trim().split(/\s+/);
}
