import { expect, test } from "bun:test";
import { BoxError } from "@bantubox/ffi";
import fc from "fast-check";
import {
  type Attribute,
  be32,
  decodeAcknowledgement,
  decodeMessages,
  encodeAttributes,
  encodeBatch,
  findAttribute,
  listAttributes,
  NLM,
  NLMSG,
  readBe32,
  readText,
  readU32,
  text,
  u8,
  u32,
} from "./message.ts";

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
const { tree } = fc.letrec<{ tree: Attribute[] }>((tie) => ({
  tree: fc.array(
    fc.tuple(
      fc.integer({ min: 0, max: 0x3fff }),
      fc.oneof({ depthSize: "small" }, bytes(70), tie("tree")) as fc.Arbitrary<Uint8Array | Attribute[]>,
    ),
    { maxLength: 4 },
  ),
}));

/** Decodes as deep as `like` is nested. */
function decodeLike(like: readonly Attribute[], encoded: Uint8Array): Attribute[] {
  return listAttributes(encoded).map(([type, value], i) => {
    const expected = like[i]?.[1];
    return [type, expected === undefined || expected instanceof Uint8Array ? value : decodeLike(expected, value)];
  });
}

/** Either a result, or our own error; never another one, never an endless loop. */
function decodesOrRefuses(decode: () => unknown): void {
  try {
    decode();
  } catch (error) {
    expect(error).toBeInstanceOf(BoxError);
    expect((error as BoxError).code).toBe("netlink-malformed");
  }
}

test("attributes survive encoding and decoding, nested ones too", () => {
  fc.assert(
    fc.property(tree, (attributes) => expect(decodeLike(attributes, encodeAttributes(attributes))).toEqual(attributes)),
  );
});

test("messages survive encoding and decoding, numbered from 1", () => {
  const request = fc.record({
    type: fc.integer({ min: 0, max: 0xffff }),
    flags: fc.integer({ min: 0, max: 0xffff }),
    // Real headers are multiples of four; what is behind an odd one could not be found.
    body: fc.integer({ min: 0, max: 8 }).map((words) => new Uint8Array(words * 4).fill(7)),
    attributes: tree,
  });
  fc.assert(
    fc.property(fc.array(request, { maxLength: 4 }), (requests) => {
      const decoded = decodeMessages(encodeBatch(requests));
      expect(decoded.map(({ type, flags, sequence }) => ({ type, flags, sequence }))).toEqual(
        requests.map(({ type, flags }, i) => ({ type, flags: flags | NLM.REQUEST, sequence: i + 1 })),
      );
      for (const [i, { body, attributes }] of requests.entries()) {
        const payload = decoded[i]?.payload ?? new Uint8Array();
        expect(payload.subarray(0, body.length)).toEqual(body);
        expect(decodeLike(attributes, payload.subarray(body.length))).toEqual(attributes);
      }
    }),
  );
});

test("every length that fits an attribute does, and no other", () => {
  for (const length of [0, 1, 2, 3, 4, 5, 255, 256, 65530, 65531]) {
    const value = new Uint8Array(length).fill(1);
    expect(listAttributes(encodeAttributes([[5, value]]))).toEqual([[5, value]]);
  }
  expect(() => encodeAttributes([[5, new Uint8Array(65532)]])).toThrow(RangeError);
  expect(() => encodeAttributes([[5, [[6, new Uint8Array(65530)]]]])).toThrow(RangeError);
});

test("arbitrary bytes decode or are refused, never anything else", () => {
  fc.assert(
    fc.property(bytes(200), fc.nat(0xffff), fc.nat(0xffff), (payload, type, flags) => {
      decodesOrRefuses(() => decodeMessages(payload));
      decodesOrRefuses(() => listAttributes(payload));
      decodesOrRefuses(() => findAttribute(payload, type));
      for (const kind of [type, NLMSG.ERROR, NLMSG.DONE]) {
        decodesOrRefuses(() => decodeAcknowledgement({ type: kind, flags, sequence: 1, payload }));
        decodesOrRefuses(() => decodeAcknowledgement({ type: kind, flags: NLM.ACK_TLVS, sequence: 1, payload }));
      }
    }),
    { numRuns: 500 },
  );
});

test("a message with one changed byte decodes or is refused", () => {
  const batch = encodeBatch([
    { type: 16, flags: NLM.ACK, body: new Uint8Array(16), attributes: [text(3, "eth0"), [18, [text(1, "veth")]]] },
    { type: 20, flags: NLM.ACK, body: new Uint8Array(8), attributes: [be32(1, 1), u32(2, 2), u8(3, 3)] },
  ]);
  for (let at = 0; at < batch.length; at++) {
    for (const value of [0, 1, 3, 4, 15, 16, 17, 127, 128, 255]) {
      const changed = batch.slice();
      changed[at] = value;
      decodesOrRefuses(() => decodeMessages(changed).map(({ payload }) => listAttributes(payload, 8)));
    }
  }
});

test.each([
  ["length 0", [0, 0, 1, 0]],
  ["length 3, less than its own header", [3, 0, 1, 0]],
  ["a length beyond the end", [9, 0, 1, 0, 1, 2, 3, 4]],
])("an attribute with %s is refused", (_, encoded) => {
  expect(() => listAttributes(Uint8Array.from(encoded))).toThrow(BoxError);
});

test("padding at the end is no attribute, unknown types stay, of equal types the first counts", () => {
  const encoded = Uint8Array.from([5, 0, 1, 0, 7, 0, 0, 0, 5, 0, 0xff, 0x3f, 8, 0, 0, 0, 5, 0, 1, 0, 9, 0, 0, 0, 0, 0]);
  expect([1, 2, 0x3fff].map((type) => findAttribute(encoded, type))).toEqual([
    Uint8Array.of(7),
    undefined,
    Uint8Array.of(8),
  ]);
});

test.each([
  ["an acknowledgement", NLMSG.ERROR, NLM.CAPPED, [0, 0, 0, 0, ...new Array(16).fill(0)], 0, undefined],
  ["a bare error", NLMSG.ERROR, NLM.CAPPED, [0xff, 0xff, 0xff, 0xff, ...new Array(16).fill(0)], 1, undefined],
  [
    "an error with words behind the header alone",
    NLMSG.ERROR,
    NLM.CAPPED | NLM.ACK_TLVS,
    [0xea, 0xff, 0xff, 0xff, 99, ...new Array(15).fill(0), 7, 0, 1, 0, 110, 111, 0, 0],
    22,
    "no",
  ],
  [
    "an error with words behind the whole message",
    NLMSG.ERROR,
    NLM.ACK_TLVS,
    [0xea, 0xff, 0xff, 0xff, 18, ...new Array(19).fill(0), 7, 0, 1, 0, 110, 111, 0, 0],
    22,
    "no",
  ],
  [
    "the end of a dump that failed",
    NLMSG.DONE,
    NLM.ACK_TLVS,
    [0xfe, 0xff, 0xff, 0xff, 7, 0, 1, 0, 110, 111, 0, 0],
    2,
    "no",
  ],
  ["the end of a dump without a number", NLMSG.DONE, 0, [], 0, undefined],
])("decodeAcknowledgement() reads %s", (_, type, flags, payload, errno, words) => {
  const message = { type, flags, sequence: 1, payload: Uint8Array.from(payload) };
  expect(decodeAcknowledgement(message)).toEqual({ errno, text: words });
});

test("numbers and strings read back, and refuse what does not fit", () => {
  const [[, little], [, big], [, name]] = [u32(1, 0xfffffffe), be32(1, 0x0a580001), text(1, "bb0")] as const;
  expect(readU32(little as Uint8Array)).toBe(0xfffffffe);
  expect(big).toEqual(Uint8Array.of(10, 88, 0, 1));
  expect(readBe32(big as Uint8Array)).toBe(0x0a580001);
  expect(name).toEqual(new TextEncoder().encode("bb0\0"));
  expect(readText(name as Uint8Array)).toBe("bb0");
  expect(() => u32(1, 2 ** 32)).toThrow(RangeError);
  expect(() => u8(1, -1)).toThrow(RangeError);
  expect(() => be32(1, 0.5)).toThrow(RangeError);
  expect(() => text(1, "bb0\0evil")).toThrow(RangeError);
  expect(() => readU32(Uint8Array.of(1, 2, 3))).toThrow(BoxError);
});
