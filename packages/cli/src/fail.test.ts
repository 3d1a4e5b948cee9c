import { describe, expect, test } from "bun:test";
import { BoxError } from "@bantubox/core";
import { describe as describeError, statusOf, unwrap } from "./fail.ts";

describe("unwrap()", () => {
  const first = new BoxError("a", "Cannot a: it broke");
  const second = new BoxError("b", "Cannot b: it broke as well");
  const third = new Error("c");

  test("the error that came first leads, though JavaScript hides it behind that of the clean-up", () => {
    expect(unwrap(new SuppressedError(second, first, "x"))).toEqual([first, second]);
  });

  test("several errors come out flat, in order and once", () => {
    expect(
      unwrap(new AggregateError([first, new AggregateError([second, first]), new SuppressedError(third, first)])),
    ).toEqual([first, second, third]);
  });

  test("anything else is itself", () => {
    expect(unwrap("text")).toEqual(["text"]);
    const empty = new AggregateError([], "nothing");
    expect(unwrap(empty)).toEqual([empty]);
  });

  test("an error that holds itself comes to an end", () => {
    const loop = new AggregateError([first]);
    loop.errors.push(second);
    const outer = new SuppressedError(loop, loop);
    expect(unwrap(outer)).toEqual([first, second]);
  });
});

test.each<[string, unknown, string]>([
  [
    "ours is its message",
    new BoxError("x", 'Cannot start "web": it is already running'),
    'Cannot start "web": it is already running',
  ],
  [
    "causes that say more are added",
    new BoxError("x", "Cannot pull: no answer", {
      cause: new Error("connection refused", { cause: new Error("no answer") }),
    }),
    "Cannot pull: no answer (connection refused)",
  ],
  [
    "what a registry says stays harmless",
    new BoxError("x", "Cannot pull: \x1b[2Jdenied\n"),
    "Cannot pull: \\x1b[2Jdenied\\n",
  ],
  ["a bug says so", new TypeError("x is undefined"), "Unexpected TypeError: x is undefined"],
  ["what was thrown need not be an error", "boom", "Unexpected string: boom"],
  [
    "a full disk is no bug",
    Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" }),
    "ENOSPC: no space left on device, write",
  ],
  [
    "nor is a database that others keep",
    Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY_RECOVERY" }),
    "Cannot use the database: other commands have kept it for a minute",
  ],
])("describe(): %s", (_, error, expected) => expect(describeError(error).text).toBe(expected));

test.each<[string, unknown, number, number]>([
  ["a command's own failure", new BoxError("no-such-container", "x"), 125, 125],
  ["bad usage, whatever the command", new BoxError("usage", "x"), 1, 125],
  ["a program that cannot be executed", new BoxError("command-not-executable", "x"), 125, 126],
  ["a program that is not there", new BoxError("command-not-found", "x"), 125, 127],
  ["a code that every object has", new BoxError("constructor", "x"), 1, 1],
  ["a bug", new TypeError("x"), 1, 1],
  ["nobody reads our output any more", Object.assign(new Error("x"), { code: "EPIPE" }), 1, 141],
])("statusOf(): %s", (_, error, status, expected) => expect(statusOf(error, status)).toBe(expected));
