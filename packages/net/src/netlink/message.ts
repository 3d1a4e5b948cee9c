/**
 * Netlink messages as data: pure functions from values to bytes and back.
 *
 * Nothing here makes a system call, because most of these bytes are sent by
 * the trampoline, long after this process is gone.
 *
 * @see https://docs.kernel.org/userspace-api/netlink/intro.html
 */
import { allocate, BoxError } from "@bantubox/ffi";

/** Flags of a message, <linux/netlink.h>. */
export const NLM = {
  REQUEST: 0x1,
  ACK: 0x4,
  DUMP_INTR: 0x10,
  DUMP: 0x300,
  EXCL: 0x200,
  CREATE: 0x400,
  APPEND: 0x800,
  CAPPED: 0x100,
  ACK_TLVS: 0x200,
} as const;

/** Message types that every protocol has. */
export const NLMSG = { NOOP: 1, ERROR: 2, DONE: 3, OVERRUN: 4 } as const;

/**
 * Everything starts at a multiple of four bytes. The sum for that is written out wherever it is needed: a function
 * that is called some 30 times has the JIT compile it, and start a thread for that, in a process that lives for milliseconds.
 */
const HEADER = 16;
const ATTRIBUTE_HEADER = 4;
/** The length field of an attribute is a u16. */
const MAX_ATTRIBUTE = 0xffff;
const NESTED = 0x8000;
/** Without the two flags that share the type's field. */
const TYPE_MASK = 0x3fff;

/** A type and its value: bytes, or further attributes. */
export type Attribute = readonly [type: number, value: Uint8Array | readonly Attribute[]];

/** What is asked of the kernel. The sequence number comes with the batch. */
export interface Request {
  readonly type: number;
  /** REQUEST is always added. */
  readonly flags: number;
  /** The fixed header that the message type has, such as ifinfomsg. */
  readonly body: Uint8Array;
  readonly attributes: readonly Attribute[];
}

/** What the kernel said. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** All that follows the header; a view, not a copy. */
  readonly payload: Uint8Array;
}

/** An acknowledgement, or the reason why there is none. */
export interface Acknowledgement {
  /** Positive; 0 if all went well. */
  readonly errno: number;
  /** The kernel's own words, where it has some. */
  readonly text: string | undefined;
}

/** Messages back to back, numbered from 1, as one datagram. @throws {RangeError} For values that do not fit. */
export function encodeBatch(requests: readonly Request[]): Uint8Array<ArrayBuffer> {
  let size = 0;
  for (const request of requests) size += messageSize(request);
  const bytes = allocate(size);
  const view = new DataView(bytes.buffer);
  let at = 0;
  let sequence = 0;
  for (const request of requests) {
    const { type, flags, body, attributes } = request;
    const start = at + HEADER + ((body.length + 3) & ~3);
    const end = writeAttributes(bytes, view, start, attributes);
    sequence++;
    view.setUint32(at, end - at, true);
    view.setUint16(at + 4, type, true);
    view.setUint16(at + 6, flags | NLM.REQUEST, true);
    view.setUint32(at + 8, sequence, true);
    bytes.set(body, at + HEADER);
    at = end;
  }
  return bytes;
}

/** The attributes alone, for the rare value that is a struct with attributes behind it. */
export function encodeAttributes(attributes: readonly Attribute[]): Uint8Array<ArrayBuffer> {
  const bytes = allocate(attributesSize(attributes));
  writeAttributes(bytes, new DataView(bytes.buffer), 0, attributes);
  return bytes;
}

/** @throws {BoxError} `netlink-malformed` when lengths do not add up. */
export function decodeMessages(bytes: Uint8Array): Message[] {
  const view = viewOf(bytes);
  const messages: Message[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.length - at < HEADER ? 0 : view.getUint32(at, true);
    if (length < HEADER || length > bytes.length - at) throw malformed("message", length, bytes.length - at);
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      payload: bytes.subarray(at + HEADER, at + length),
    });
    at += (length + 3) & ~3;
  }
  return messages;
}

/**
 * Attributes in order; nested ones as bytes, to be decoded in turn by who knows them.
 *
 * Up to three odd bytes at the end are padding that some kernels leave.
 *
 * @throws {BoxError} `netlink-malformed` when lengths do not add up.
 */
export function listAttributes(bytes: Uint8Array, from = 0): [type: number, value: Uint8Array][] {
  const view = viewOf(bytes);
  const attributes: [number, Uint8Array][] = [];
  for (let at = from; bytes.length - at >= ATTRIBUTE_HEADER; ) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_HEADER || length > bytes.length - at) {
      throw malformed("attribute", length, bytes.length - at);
    }
    const type = view.getUint16(at + 2, true) & TYPE_MASK;
    attributes.push([type, bytes.subarray(at + ATTRIBUTE_HEADER, at + length)]);
    at += (length + 3) & ~3;
  }
  return attributes;
}

/**
 * The value of the first attribute with that type, undefined where there is none. What is behind it is not looked at.
 *
 * @throws {BoxError} `netlink-malformed` when lengths do not add up.
 */
export function findAttribute(bytes: Uint8Array, wanted: number, from = 0): Uint8Array | undefined {
  const view = viewOf(bytes);
  for (let at = from; bytes.length - at >= ATTRIBUTE_HEADER; ) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_HEADER || length > bytes.length - at) {
      throw malformed("attribute", length, bytes.length - at);
    }
    if ((view.getUint16(at + 2, true) & TYPE_MASK) === wanted) {
      return bytes.subarray(at + ATTRIBUTE_HEADER, at + length);
    }
    at += (length + 3) & ~3;
  }
  return undefined;
}

/**
 * Reads a message of type ERROR or DONE.
 *
 * @throws {BoxError} `netlink-malformed` when it is too short.
 */
export function decodeAcknowledgement({ type, flags, payload }: Message): Acknowledgement {
  if (payload.length < 4) {
    // A DONE may come bare; an ERROR without its number says nothing.
    if (type === NLMSG.DONE && payload.length === 0) return { errno: 0, text: undefined };
    throw malformed("acknowledgement", payload.length, payload.length);
  }
  const view = viewOf(payload);
  const errno = Math.max(0, -view.getInt32(0, true));
  if ((flags & NLM.ACK_TLVS) === 0) return { errno, text: undefined };
  const text = findAttribute(payload, EXPLANATION, explanationOffset(type, flags, payload, view));
  return { errno, text: text === undefined ? undefined : readText(text) };
}

/** The kernel's message in an extended acknowledgement, <linux/netlink.h>. */
const EXPLANATION = 1;

/** The refused message is quoted between the error number and the attributes: its header, or all of it. */
function explanationOffset(type: number, flags: number, payload: Uint8Array, view: DataView): number {
  if (type === NLMSG.DONE) return 4;
  if (payload.length < 4 + HEADER) throw malformed("acknowledgement", payload.length, payload.length);
  return 4 + ((flags & NLM.CAPPED) === 0 ? (Math.max(HEADER, view.getUint32(4, true)) + 3) & ~3 : HEADER);
}

export function u8(type: number, value: number): Attribute {
  return [type, numeric(1, value, 0xff, false)];
}

export function u32(type: number, value: number): Attribute {
  return [type, numeric(4, value, 0xffffffff, true)];
}

/** In network order, as all of nfnetlink has its numbers, and addresses are. */
export function be32(type: number, value: number): Attribute {
  return [type, numeric(4, value, 0xffffffff, false)];
}

/** A string with its terminating NUL. @throws {RangeError} When it holds one itself. */
export function text(type: number, value: string): Attribute {
  const bytes = new TextEncoder().encode(`${value}\0`);
  if (value.includes("\0")) throw new RangeError(`${JSON.stringify(value)} holds a NUL byte`);
  return [type, bytes];
}

export function nested(type: number, attributes: readonly Attribute[]): Attribute {
  return [type, attributes];
}

/** A string that came with or without its NUL. */
export function readText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** A number in host order. @throws {BoxError} `netlink-malformed` unless there are exactly four bytes. */
export function readU32(bytes: Uint8Array): number {
  if (bytes.length !== 4) throw malformed("number", 4, bytes.length);
  return viewOf(bytes).getUint32(0, true);
}

/** A number in network order. @throws {BoxError} `netlink-malformed` unless there are exactly four bytes. */
export function readBe32(bytes: Uint8Array): number {
  if (bytes.length !== 4) throw malformed("number", 4, bytes.length);
  return viewOf(bytes).getUint32(0, false);
}

function messageSize({ body, attributes }: Request): number {
  return HEADER + ((body.length + 3) & ~3) + attributesSize(attributes);
}

function attributesSize(attributes: readonly Attribute[]): number {
  let size = 0;
  for (const [, value] of attributes) {
    const length = value instanceof Uint8Array ? value.length : attributesSize(value);
    size += ATTRIBUTE_HEADER + ((length + 3) & ~3);
  }
  return size;
}

function writeAttributes(bytes: Uint8Array, view: DataView, from: number, attributes: readonly Attribute[]): number {
  let at = from;
  for (const [type, value] of attributes) {
    const start = at + ATTRIBUTE_HEADER;
    let end: number;
    if (value instanceof Uint8Array) {
      end = start + value.length;
      if (end - at <= MAX_ATTRIBUTE) bytes.set(value, start);
    } else {
      end = writeAttributes(bytes, view, start, value);
    }
    if (end - at > MAX_ATTRIBUTE) throw new RangeError(`Attribute ${type} has ${end - start} bytes: too many`);
    if (type < 0 || type > TYPE_MASK) throw new RangeError(`${type} is no attribute type`);
    view.setUint16(at, end - at, true);
    view.setUint16(at + 2, value instanceof Uint8Array ? type : type | NESTED, true);
    at = (end + 3) & ~3;
  }
  return at;
}

/** DataView would wrap silently: index 2^32 + 1 is the loopback. */
function numeric(size: 1 | 4, value: number, max: number, little: boolean): Uint8Array {
  if (!Number.isInteger(value) || value < 0 || value > max) throw new RangeError(`${value} does not fit ${size} bytes`);
  const bytes = allocate(size);
  if (size === 1) bytes[0] = value;
  else new DataView(bytes.buffer).setUint32(0, value, little);
  return bytes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function malformed(what: string, claimed: number, left: number): BoxError {
  return new BoxError(
    "netlink-malformed",
    `Cannot read a netlink ${what}: it claims ${claimed} bytes where ${left} are left`,
  );
}
