import { allocate } from "./memory.ts";

const SIZE = { u8: 1, u16: 2, u32: 4, u64: 8, i8: 1, i16: 2, i32: 4, i64: 8 } as const;

type FieldType = keyof typeof SIZE;
type Fields = Readonly<Record<string, FieldType>>;
type Value<T extends FieldType> = T extends "u64" | "i64" ? bigint : number;
/** A struct's values; names that start with `_` are padding and never appear. */
type Values<F extends Fields> = { [K in keyof F as K extends `_${string}` ? never : K]: Value<F[K]> };

/** A C struct described once and read and written from the same table, in the host's byte order (little-endian on both). */
export interface Struct<F extends Fields> {
  readonly size: number;
  readonly offsets: { readonly [K in keyof F]: number };
  /** Fields that are left out are zero. @throws {RangeError} When a value does not fit its field. */
  encode(values: Partial<Values<F>>): Uint8Array<ArrayBuffer>;
  encodeInto(target: Uint8Array, at: number, values: Partial<Values<F>>): void;
  /** @throws {RangeError} When `bytes` ends before the struct does. */
  decode(bytes: Uint8Array, at?: number): Values<F>;
}

/**
 * Describes a C struct: its fields in order, padding written out as fields that start with `_`.
 *
 * @example
 * // struct ifinfomsg, <linux/rtnetlink.h>
 * const ifinfomsg = struct({ family: "u8", _pad: "u8", type: "u16", index: "i32", flags: "u32", change: "u32" });
 * ifinfomsg.encode({ index: 3 });
 */
export function struct<const F extends Fields>(fields: F): Struct<F> {
  const offsets: Record<string, number> = {};
  let size = 0;
  for (const [name, type] of Object.entries(fields)) {
    if (size % SIZE[type] !== 0) throw new RangeError(`${name} is not aligned: write the padding out`);
    offsets[name] = size;
    size += SIZE[type];
  }

  function encodeInto(target: Uint8Array, at: number, values: Partial<Values<F>>): void {
    const view = new DataView(target.buffer, target.byteOffset + at, size);
    for (const [name, value] of Object.entries(values)) {
      const type = fields[name];
      if (type === undefined) throw new TypeError(`The struct has no field ${name}`);
      if (value !== undefined) writeField(view, offsets[name] as number, name, type, value as number | bigint);
    }
  }

  return {
    size,
    offsets: offsets as { readonly [K in keyof F]: number },
    encodeInto,
    encode(values) {
      const bytes = allocate(size);
      encodeInto(bytes, 0, values);
      return bytes;
    },
    decode(bytes, at = 0) {
      if (at < 0 || bytes.length < at + size) {
        throw new RangeError(`The struct needs ${size} bytes, ${bytes.length - at} are left`);
      }
      const view = new DataView(bytes.buffer, bytes.byteOffset + at, size);
      const values: Record<string, number | bigint> = {};
      for (const [name, type] of Object.entries(fields)) {
        if (!name.startsWith("_")) values[name] = readField(view, offsets[name] as number, type);
      }
      return values as Values<F>;
    },
  };
}

/** Inclusive bounds of what a field holds. DataView would wrap silently: 2^32 stored in a u32 is 0, and 0 is root. */
const BOUNDS: Readonly<Record<FieldType, readonly [number | bigint, number | bigint]>> = {
  u8: [0, 0xff],
  u16: [0, 0xffff],
  u32: [0, 0xffff_ffff],
  u64: [0, 0xffff_ffff_ffff_ffffn],
  i8: [-0x80, 0x7f],
  i16: [-0x8000, 0x7fff],
  i32: [-0x8000_0000, 0x7fff_ffff],
  i64: [-0x8000_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn],
};

function writeField(view: DataView, at: number, name: string, type: FieldType, value: number | bigint): void {
  const [low, high] = BOUNDS[type];
  if ((typeof value === "number" && !Number.isInteger(value)) || value < low || value > high) {
    throw new RangeError(`${name}: ${value} does not fit ${type}`);
  }
  if (SIZE[type] === 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
  else if (SIZE[type] === 4) view.setUint32(at, Number(value), true);
  else if (SIZE[type] === 2) view.setUint16(at, Number(value), true);
  else view.setUint8(at, Number(value));
}

function readField(view: DataView, at: number, type: FieldType): number | bigint {
  switch (type) {
    case "u8":
      return view.getUint8(at);
    case "i8":
      return view.getInt8(at);
    case "u16":
      return view.getUint16(at, true);
    case "i16":
      return view.getInt16(at, true);
    case "u32":
      return view.getUint32(at, true);
    case "i32":
      return view.getInt32(at, true);
    case "u64":
      return view.getBigUint64(at, true);
    case "i64":
      return view.getBigInt64(at, true);
  }
}
