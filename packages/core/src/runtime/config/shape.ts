/**
 * The form of config.json, checked by plain functions over plain tables.
 *
 * A schema library is not loaded here: it would take longer than all the rest that `create` does in Bun.
 */
import { BoxError } from "@bantubox/ffi";

/** Looks at one value and throws when it has not the form. `at` names it: `process.user.uid`. */
export type Shape = (value: unknown, at: string) => void;

export function badConfig(at: string, state: string, hint?: string): BoxError {
  return new BoxError("bad-config", `Cannot use the configuration: "${at}" ${state}`, { hint });
}

/** A string that the kernel can be given. */
export const text: Shape = (value, at) => {
  if (typeof value !== "string") throw badConfig(at, "must be a string");
  if (value.includes("\0")) throw badConfig(at, "must not hold a NUL");
};

export const flag: Shape = (value, at) => {
  if (typeof value !== "boolean") throw badConfig(at, "must be true or false");
};

/** An integer from `low` to `high`; one of many digits is a bigint. */
export function integer(low: number, high: number): Shape {
  return (value, at) => {
    const isInteger = typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value));
    if (isInteger && value >= low && value <= high) return;
    throw badConfig(at, `must be an integer from ${low} to ${high}`);
  };
}

export const uint32 = integer(0, 0xffff_ffff);
/** As far as JSON's numbers are exact; parse.ts settles what lies beyond. */
export const int64 = integer(-(2 ** 63), 2 ** 63);
export const uint64 = integer(0, 2 ** 64);

/** A value of type uint64 of which every digit counts: past 2^53 it is a bigint. */
export const exact: Shape = (value, at) => {
  if (typeof value === "bigint" && value >= 0n && value < 1n << 64n) return;
  uint64(value, at);
};

export const anything: Shape = () => undefined;

/** One of `values`. */
export function oneOf(...values: readonly string[]): Shape {
  return (value, at) => {
    if (typeof value === "string" && values.includes(value)) return;
    throw badConfig(at, `must be one of ${values.map((name) => `"${name}"`).join(", ")}, not ${JSON.stringify(value)}`);
  };
}

export function list(shape: Shape): Shape {
  return (value, at) => {
    if (!Array.isArray(value)) throw badConfig(at, "must be an array");
    for (let i = 0; i < value.length; i++) shape(value[i], `${at}[${i}]`);
  };
}

/** Any names, all values of one form. A null counts as left out. */
export function record(shape: Shape): Shape {
  return (value, at) => {
    const object = objectAt(value, at);
    for (const key of Object.keys(object)) {
      if (object[key] === null) delete object[key];
      else shape(object[key], `${at}.${key}`);
    }
  };
}

/**
 * An object with these fields, those in `required` among them. Others pass unseen, as the specification wants it.
 *
 * A null counts as left out, as for the programs in Go that write these files: it is removed.
 */
export function fields(table: Readonly<Record<string, Shape>>, required: readonly string[] = []): Shape {
  return (value, at) => {
    const object = objectAt(value, at);
    for (const key of Object.keys(object)) {
      if (object[key] === null) delete object[key];
      else if (Object.hasOwn(table, key)) table[key]?.(object[key], at === "" ? key : `${at}.${key}`);
    }
    for (const key of required) {
      if (object[key] === undefined) throw badConfig(at === "" ? key : `${at}.${key}`, "is missing");
    }
  };
}

function objectAt(value: unknown, at: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw badConfig(at === "" ? "config.json" : at, "must be an object");
}
