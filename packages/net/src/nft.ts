/**
 * nftables requests as data: tables, chains, rules, sets.
 *
 * Everything of nfnetlink is in network order except what lies in registers: masks and flags
 * of conntrack, which are the machine's own.
 *
 * @see https://wiki.nftables.org/wiki-nftables/index.php/Portal:DeveloperDocs/nftables_internals
 */
import { allocate } from "@bantubox/ffi";
import {
  type Attribute,
  be32,
  encodeBatch,
  findAttribute,
  listAttributes,
  type Message,
  NLM,
  nested,
  type Request,
  readBe32,
  text,
} from "./netlink/message.ts";

const SUBSYSTEM = 10;
const BATCH = { BEGIN: 16, END: 17 } as const;
const MSG = {
  NEWTABLE: 0,
  DELTABLE: 2,
  NEWCHAIN: 3,
  NEWRULE: 6,
  NEWSET: 9,
  NEWSETELEM: 12,
  GETSETELEM: 13,
  DELSETELEM: 14,
  GETGEN: 16,
} as const;
const NFPROTO_IPV4 = 2;
const BATCH_GENERATION = 1;
const GENERATION_ID = 1;

const TABLE = { NAME: 1 } as const;
const CHAIN = { TABLE: 1, NAME: 3, HOOK: 4, POLICY: 5, TYPE: 7 } as const;
const HOOK = { NUMBER: 1, PRIORITY: 2 } as const;
const RULE = { TABLE: 1, CHAIN: 2, EXPRESSIONS: 4 } as const;
const SET = { TABLE: 1, NAME: 2, FLAGS: 3, KEY_TYPE: 4, KEY_LENGTH: 5, ID: 10, USER_DATA: 13 } as const;
const ELEMENT_LIST = { TABLE: 1, SET: 2, ELEMENTS: 3 } as const;
const ELEMENT = { KEY: 1, FLAGS: 3 } as const;
const LIST_ELEMENT = 1;
const DATA = { VALUE: 1, VERDICT: 2 } as const;
const VERDICT_CODE = 1;
const EXPRESSION = { NAME: 1, DATA: 2 } as const;
const ACCEPT = 1;
const INTERVAL_END = 1;
/** Bytes of an interface's name in a register or a set. */
const IFNAME_BYTES = 16;

/** Registers of 16 bytes each; the verdict's has number 0. */
const REGISTER = { VERDICT: 0, FIRST: 1, SECOND: 2 } as const;

/**
 * Types and byte orders (1 is the host's, 2 the network's) by which `nft` prints a set's keys, and flags of sets,
 * <linux/netfilter/nf_tables.h>. The kernel itself only cares for the number of bytes.
 */
export const KEY = {
  ifname: { type: 41, bytes: IFNAME_BYTES, order: 1 },
  /** A pair is printed `"a" . "b"`; its type is both types', six bits each. */
  ifnamePair: { type: (41 << 6) | 41, bytes: 2 * IFNAME_BYTES, order: 1 },
  ipv4: { type: 7, bytes: 4, order: 2 },
} as const;
export const SET_INTERVAL = 4;
export const HOOKS = {
  forward: { type: "filter", hook: 2, priority: 0 },
  postrouting: { type: "nat", hook: 4, priority: 100 },
} as const;

/** An element of a set; the end of an interval is an element too. */
export interface Element {
  readonly key: Uint8Array;
  readonly isEnd?: boolean;
}

/**
 * Wraps requests into the transaction that nftables asks for: all of them or none.
 *
 * @param generation Of `parseGeneration`: then none also if anybody changed anything since.
 */
export function transaction(requests: readonly Request[], generation?: number): Uint8Array<ArrayBuffer> {
  const condition = generation === undefined ? [] : [be32(BATCH_GENERATION, generation)];
  return encodeBatch([mark(BATCH.BEGIN, condition), ...requests, mark(BATCH.END, [])]);
}

/** Asks which generation of the host's ruleset this is. Stands outside of transactions. */
export function getGeneration(): Request {
  return request(MSG.GETGEN, 0, []);
}

/** @throws {BoxError} `netlink-malformed` */
export function parseGeneration(messages: readonly Message[]): number {
  const id = findAttribute(messages[0]?.payload ?? new Uint8Array(), GENERATION_ID, 4);
  return readBe32(id ?? new Uint8Array());
}

/** Equivalent to: `nft create table ip NAME` (which fails with EEXIST), or `add` */
export function newTable(name: string, { exclusive }: { readonly exclusive: boolean }): Request {
  const flags = NLM.CREATE | (exclusive ? NLM.EXCL : 0);
  return request(MSG.NEWTABLE, flags, [text(TABLE.NAME, name)]);
}

/** Equivalent to: `nft delete table ip NAME` */
export function deleteTable(name: string): Request {
  return request(MSG.DELTABLE, 0, [text(TABLE.NAME, name)]);
}

/** Equivalent to: `nft add chain ip TABLE NAME '{ type … hook … priority …; policy accept; }'` */
export function newChain(table: string, name: string, where: (typeof HOOKS)[keyof typeof HOOKS]): Request {
  return request(MSG.NEWCHAIN, NLM.CREATE, [
    text(CHAIN.TABLE, table),
    text(CHAIN.NAME, name),
    nested(CHAIN.HOOK, [be32(HOOK.NUMBER, where.hook), be32(HOOK.PRIORITY, where.priority)]),
    be32(CHAIN.POLICY, ACCEPT),
    text(CHAIN.TYPE, where.type),
  ]);
}

/** Equivalent to: `nft add rule ip TABLE CHAIN …` */
export function newRule(table: string, chain: string, expressions: readonly Attribute[][]): Request {
  return request(MSG.NEWRULE, NLM.CREATE | NLM.APPEND, [
    text(RULE.TABLE, table),
    text(RULE.CHAIN, chain),
    nested(RULE.EXPRESSIONS, expressions.flat()),
  ]);
}

/** Equivalent to: `nft add set ip TABLE NAME '{ type …; flags …; }'` @param id Any number that no other set of the transaction has. */
export function newSet(
  table: string,
  name: string,
  {
    key,
    flags = 0,
    id,
  }: { readonly key: (typeof KEY)[keyof typeof KEY]; readonly flags?: number; readonly id: number },
): Request {
  return request(MSG.NEWSET, NLM.CREATE, [
    text(SET.TABLE, table),
    text(SET.NAME, name),
    be32(SET.FLAGS, flags),
    be32(SET.KEY_TYPE, key.type),
    be32(SET.KEY_LENGTH, key.bytes),
    be32(SET.ID, id),
    // As nft itself notes it: tag 0 (byte order of the key), 4 bytes, a u32 of the host's.
    [SET.USER_DATA, Uint8Array.of(0, 4, key.order, 0, 0, 0)],
  ]);
}

/** Equivalent to: `nft add element ip TABLE SET '{ … }'`; those that are there already are no failure. */
export function addElements(table: string, set: string, elements: readonly Element[]): Request {
  return request(MSG.NEWSETELEM, NLM.CREATE, elementList(table, set, elements));
}

/** Equivalent to: `nft delete element ip TABLE SET '{ … }'` */
export function deleteElements(table: string, set: string, elements: readonly Element[]): Request {
  return request(MSG.DELSETELEM, 0, elementList(table, set, elements));
}

/** Equivalent to: `nft get element ip TABLE SET '{ … }'`. Stands outside of transactions. */
export function getElements(table: string, set: string, elements: readonly Element[]): Request {
  return request(MSG.GETSETELEM, 0, elementList(table, set, elements));
}

/** Equivalent to: `nft list set ip TABLE SET`. Stands outside of transactions. */
export function listElements(table: string, set: string): Request {
  const attributes = [text(ELEMENT_LIST.TABLE, table), text(ELEMENT_LIST.SET, set)];
  return { ...request(MSG.GETSETELEM, 0, attributes), flags: NLM.DUMP };
}

/** The elements of an answer to `listElements`. @throws {BoxError} `netlink-malformed` */
export function parseElements({ payload }: Message): Element[] {
  const elements: Element[] = [];
  for (const [type, list] of listAttributes(payload, 4)) {
    if (type !== ELEMENT_LIST.ELEMENTS) continue;
    for (const [, element] of listAttributes(list)) {
      const key = findAttribute(findAttribute(element, ELEMENT.KEY) ?? new Uint8Array(), DATA.VALUE);
      const flags = findAttribute(element, ELEMENT.FLAGS);
      if (key !== undefined)
        elements.push({ key, isEnd: flags !== undefined && (readBe32(flags) & INTERVAL_END) !== 0 });
    }
  }
  return elements;
}

/** An interface's name as a set's key: padded with zeros. */
export function nameKey(name: string): Uint8Array {
  const bytes = allocate(IFNAME_BYTES);
  new TextEncoder().encodeInto(name, bytes);
  return bytes;
}

/** An IPv4 address as a set's key. */
export function addressKey(address: number): Uint8Array {
  const bytes = allocate(4);
  new DataView(bytes.buffer).setUint32(0, address, false);
  return bytes;
}

/** Equivalent to: `iifname . oifname @SET` */
export function matchInterfacePair(set: string): Attribute[] {
  const META = { REGISTER: 1, KEY: 2 } as const;
  const IIFNAME = 6;
  return [
    expression("meta", [be32(META.REGISTER, REGISTER.FIRST), be32(META.KEY, IIFNAME)]),
    loadOutputName(REGISTER.SECOND),
    lookup(set, false),
  ];
}

/** Equivalent to: `oifname @SET`, or `oifname != @SET` when inverted */
export function matchOutput(set: string, { inverted }: { readonly inverted: boolean }): Attribute[] {
  return [loadOutputName(REGISTER.FIRST), lookup(set, inverted)];
}

/** Equivalent to: `ip saddr @SET` */
export function matchSource(set: string): Attribute[] {
  const PAYLOAD = { REGISTER: 1, BASE: 2, OFFSET: 3, LENGTH: 4 } as const;
  const NETWORK_HEADER = 1;
  const SOURCE_OFFSET = 12;
  return [
    expression("payload", [
      be32(PAYLOAD.REGISTER, REGISTER.FIRST),
      be32(PAYLOAD.BASE, NETWORK_HEADER),
      be32(PAYLOAD.OFFSET, SOURCE_OFFSET),
      be32(PAYLOAD.LENGTH, 4),
    ]),
    lookup(set, false),
  ];
}

/** Equivalent to: `ct state established,related` or `ct status dnat` */
export function matchConntrack(what: "established" | "dnat"): Attribute[] {
  const CT = { REGISTER: 1, KEY: 2 } as const;
  const BITWISE = { SOURCE: 1, TARGET: 2, LENGTH: 3, MASK: 4, XOR: 5 } as const;
  const COMPARE = { REGISTER: 1, OPERATOR: 2, DATA: 3 } as const;
  const NOT_EQUAL = 1;
  // Keys and bits of <linux/netfilter/nf_conntrack_common.h>.
  const [key, bits] = what === "established" ? [0, 2 | 4] : [2, 1 << 5];
  const mask = allocate(4);
  new DataView(mask.buffer).setUint32(0, bits, true);
  return [
    expression("ct", [be32(CT.REGISTER, REGISTER.FIRST), be32(CT.KEY, key)]),
    expression("bitwise", [
      be32(BITWISE.SOURCE, REGISTER.FIRST),
      be32(BITWISE.TARGET, REGISTER.FIRST),
      be32(BITWISE.LENGTH, 4),
      nested(BITWISE.MASK, [[DATA.VALUE, mask]]),
      nested(BITWISE.XOR, [[DATA.VALUE, allocate(4)]]),
    ]),
    expression("cmp", [
      be32(COMPARE.REGISTER, REGISTER.FIRST),
      be32(COMPARE.OPERATOR, NOT_EQUAL),
      nested(COMPARE.DATA, [[DATA.VALUE, allocate(4)]]),
    ]),
  ];
}

/** Equivalent to: `accept` or `drop` */
export function verdict(what: "accept" | "drop"): Attribute[] {
  const IMMEDIATE = { REGISTER: 1, DATA: 2 } as const;
  const code = be32(VERDICT_CODE, what === "accept" ? ACCEPT : 0);
  return [
    expression("immediate", [
      be32(IMMEDIATE.REGISTER, REGISTER.VERDICT),
      nested(IMMEDIATE.DATA, [nested(DATA.VERDICT, [code])]),
    ]),
  ];
}

/** Equivalent to: `masquerade` */
export function masquerade(): Attribute[] {
  return [expression("masq", [])];
}

function loadOutputName(register: number): Attribute {
  const META = { REGISTER: 1, KEY: 2 } as const;
  const OIFNAME = 7;
  return expression("meta", [be32(META.REGISTER, register), be32(META.KEY, OIFNAME)]);
}

function lookup(set: string, inverted: boolean): Attribute {
  const LOOKUP = { SET: 1, REGISTER: 2, FLAGS: 5 } as const;
  return expression("lookup", [
    text(LOOKUP.SET, set),
    be32(LOOKUP.REGISTER, REGISTER.FIRST),
    be32(LOOKUP.FLAGS, inverted ? 1 : 0),
  ]);
}

function expression(name: string, data: readonly Attribute[]): Attribute {
  return nested(LIST_ELEMENT, [text(EXPRESSION.NAME, name), nested(EXPRESSION.DATA, data)]);
}

function elementList(table: string, set: string, elements: readonly Element[]): Attribute[] {
  return [
    text(ELEMENT_LIST.TABLE, table),
    text(ELEMENT_LIST.SET, set),
    nested(ELEMENT_LIST.ELEMENTS, elements.map(elementAttribute)),
  ];
}

function elementAttribute({ key, isEnd = false }: Element): Attribute {
  const value = nested(ELEMENT.KEY, [[DATA.VALUE, key]]);
  return nested(LIST_ELEMENT, isEnd ? [value, be32(ELEMENT.FLAGS, INTERVAL_END)] : [value]);
}

function request(type: number, flags: number, attributes: readonly Attribute[]): Request {
  return { type: (SUBSYSTEM << 8) | type, flags: flags | NLM.ACK, body: generic(NFPROTO_IPV4, 0), attributes };
}

function mark(type: number, attributes: readonly Attribute[]): Request {
  return { type, flags: 0, body: generic(0, SUBSYSTEM), attributes };
}

/** struct nfgenmsg, <linux/netfilter/nfnetlink.h>; the last field is in network order. */
function generic(family: number, resource: number): Uint8Array {
  const bytes = allocate(4);
  bytes[0] = family;
  bytes[3] = resource;
  return bytes;
}
