import { expect, test } from "bun:test";
import { type Flags, parseArguments } from "./arguments.ts";

const FLAGS = {
  root: { type: "string", help: "" },
  detach: { type: "boolean", short: "d", help: "" },
  env: { type: "list", short: "e", help: "" },
  count: { type: "number", help: "" },
} as const satisfies Flags;

test.each<[string, string[], object, string[]]>([
  ["a value may follow or be attached", ["--root", "/a", "--count=3", "id"], { root: "/a", count: 3 }, ["id"]],
  ["one dash is as good as two", ["-root", "/a", "-detach"], { root: "/a", detach: true }, []],
  ["the first other word ends the options", ["-d", "id", "-d", "--root"], { detach: true }, ["id", "-d", "--root"]],
  ["two dashes end them too", ["--", "-d"], {}, ["-d"]],
  ["a list keeps every value", ["-e", "A=1", "--env=B=2"], { env: ["A=1", "B=2"] }, []],
  ["a boolean may be taken back", ["--detach=false"], { detach: false }, []],
  ["a value may begin with a dash, or be one", ["--root", "-", "--count", "-1"], { root: "-", count: -1 }, []],
])("parseArguments(): %s", (_, args, values, rest) => {
  expect(parseArguments(FLAGS, args)).toEqual({ values, rest });
});

test.each([[["--nope"]], [["--root"]], [["--count", "many"]], [["--detach=maybe"]], [["--toString"]]])(
  "parseArguments() refuses %j",
  (args) => {
    expect(() => parseArguments(FLAGS, args)).toThrow();
  },
);
