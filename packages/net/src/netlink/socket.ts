import { allocate, attempt, BoxError, call, ERRNO, errnoName, Fd, SysError } from "@bantubox/ffi";
import { type Acknowledgement, decodeAcknowledgement, decodeMessages, type Message, NLM, NLMSG } from "./message.ts";

/** Netlink protocols, <linux/netlink.h>. */
export const NETLINK = { ROUTE: 0, NETFILTER: 12 } as const;

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_NETLINK = 270;
const MSG_DONTWAIT_TRUNC = 0x40 | 0x20;
/** Leave the refused message out of acknowledgements; explain errors; let dumps be filtered by the kernel. */
const OPTIONS = { CAP_ACK: 10, EXT_ACK: 11, GET_STRICT_CHK: 12 } as const;

/** Dumps come in datagrams of at most this size, whatever the reader offers. */
const BUFFER_BYTES = 32768;
/** Attempts at a dump that changed under our eyes. */
const DUMP_TRIES = 8;

/** What came of a batch: its first failure, or success. */
export interface Answer extends Acknowledgement {
  /** Which request of the batch failed, from 1; 0 if none did. */
  readonly sequence: number;
  readonly messages: readonly Message[];
}

/**
 * A netlink socket of the network namespace in which it was opened.
 *
 * The kernel carries out a batch within sendto(2) and has queued every
 * acknowledgement when that returns, so reading never waits and a lost answer
 * is an error instead of a hang.
 */
export class NetlinkSocket implements Disposable {
  readonly #fd: Fd;
  readonly #buffer = allocate(BUFFER_BYTES);
  /** struct sockaddr_nl of whoever sent the last datagram. */
  readonly #sender = allocate(12);
  readonly #senderLength = allocate(4);

  /** @param protocol One of NETLINK. */
  constructor(protocol: number) {
    this.#fd = new Fd(call("socket", "of netlink", AF_NETLINK, SOCK_RAW_CLOEXEC, protocol));
    const on = allocate(4);
    on[0] = 1;
    for (const option of Object.values(OPTIONS)) {
      // Kernels before 4.20 lack some; every reader here also does without.
      attempt("setsockopt", this.#fd.raw, SOL_NETLINK, option, on, 4);
    }
  }

  /**
   * Sends a batch, in which every request asks for an acknowledgement or a dump, and says what came of it.
   *
   * The kernel goes on after a failure: later requests of the batch are carried out too (nfnetlink's own batches excepted).
   *
   * @param batch Of `encodeBatch`.
   * @throws {BoxError} `netlink-malformed`, `netlink-out-of-step`: the answers do not fit the questions.
   */
  attempt(batch: Uint8Array): Answer {
    for (let tries = 1; ; tries++) {
      const answer = this.#exchange(batch);
      if (answer !== undefined) return answer;
      if (tries === DUMP_TRIES) {
        throw new BoxError("netlink-interrupted", `Cannot list: what is listed changed ${DUMP_TRIES} times meanwhile`);
      }
    }
  }

  /**
   * Sends a batch and returns what the kernel sent besides acknowledgements.
   *
   * @param action Words after "Cannot" for the error: `create bridge "bb0"`.
   * @throws {BoxError} With the errno's name as its code, for the first request that failed.
   */
  call(action: string, batch: Uint8Array): readonly Message[] {
    const answer = this.attempt(batch);
    if (answer.errno !== 0) throw refusal(action, answer);
    return answer.messages;
  }

  [Symbol.dispose](): void {
    this.#fd.close();
  }

  /** Undefined when a dump was inconsistent. */
  #exchange(batch: Uint8Array): Answer | undefined {
    const { awaited, last } = questions(batch);
    const messages: Message[] = [];
    let failure: (Acknowledgement & { readonly sequence: number }) | undefined;
    let interrupted = false;

    call("sendto", "to the kernel's netlink", this.#fd.raw, batch, batch.length);
    while (awaited.size > 0) {
      const received = this.#receive();
      if (received === undefined) {
        // A batch of nfnetlink that fails as a whole answers for its first message alone.
        if (failure !== undefined) break;
        throw outOfStep("an answer is missing");
      }
      for (const message of received) {
        const { sequence, type } = message;
        if (sequence < 1 || sequence > last) throw outOfStep(`there was no question number ${sequence}`);
        if ((message.flags & NLM.DUMP_INTR) !== 0) interrupted = true;
        if (type !== NLMSG.ERROR && type !== NLMSG.DONE) {
          messages.push(message);
          continue;
        }
        const acknowledgement = decodeAcknowledgement(message);
        awaited.delete(sequence);
        if (acknowledgement.errno !== 0) failure ??= { ...acknowledgement, sequence };
      }
    }
    if (interrupted) return undefined;
    return { errno: 0, sequence: 0, text: undefined, ...failure, messages };
  }

  /** One datagram of the kernel, undefined when none is queued. The messages are copies: the buffer is used again. */
  #receive(): Message[] | undefined {
    this.#senderLength[0] = this.#sender.length;
    const length = attempt(
      "recvfrom",
      this.#fd.raw,
      this.#buffer,
      this.#buffer.length,
      MSG_DONTWAIT_TRUNC,
      this.#sender,
      this.#senderLength,
    );
    if (length === -ERRNO.EAGAIN) return undefined;
    if (length < 0) throw new SysError("recvfrom", -length, "of the kernel's netlink");
    if (length > this.#buffer.length) throw outOfStep(`an answer has ${length} bytes`);
    // Other processes may send to our port; number 0 is the kernel's own.
    const isKernel = this.#sender[4] === 0 && this.#sender[5] === 0 && this.#sender[6] === 0 && this.#sender[7] === 0;
    return isKernel ? decodeMessages(this.#buffer.slice(0, length)) : [];
  }
}

/** The error for a batch that the kernel refused. */
export function refusal(action: string, { errno, text }: Answer): BoxError {
  const code = errnoName(errno);
  const words = text === undefined ? "" : ` (${text})`;
  const hint = errno === ERRNO.EPERM ? "Run this as root, with CAP_NET_ADMIN" : undefined;
  return new BoxError(code, `Cannot ${action}: ${code}${words}`, { hint });
}

/** Which requests the kernel answers with an acknowledgement or the end of a dump, and the batch's last number. */
function questions(batch: Uint8Array): { awaited: Set<number>; last: number } {
  const awaited = new Set<number>();
  let last = 0;
  for (const { flags, sequence } of decodeMessages(batch)) {
    if ((flags & NLM.ACK) !== 0 || (flags & NLM.DUMP) === NLM.DUMP) awaited.add(sequence);
    last = sequence;
  }
  return { awaited, last };
}

function outOfStep(state: string): BoxError {
  return new BoxError("netlink-out-of-step", `Cannot follow the kernel's netlink: ${state}`);
}
