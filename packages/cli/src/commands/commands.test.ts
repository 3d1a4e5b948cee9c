import { expect, test } from "bun:test";
import type { Command } from "../command.ts";
import { parse } from "../parse.ts";
import init from "./init.ts";
import logs from "./logs.ts";
import { referenceOf } from "./pull.ts";

test.each([
  [["alpine"], "alpine"],
  [["alpine", "latest"], "alpine:latest"],
  [["localhost:5000/team/app", "1.0"], "localhost:5000/team/app:1.0"],
  [["alpine", "sha256:ab"], "alpine@sha256:ab"],
])("referenceOf(%j)", (operands, expected) => expect(referenceOf(operands)).toBe(expected));

test.each([[["alpine:3.20", "latest"]], [["localhost:5000/app:1", "2"]], [["alpine@sha256:ab", "latest"]]])(
  "referenceOf(%j) refuses a second tag",
  (operands) => expect(() => referenceOf(operands)).toThrow(/has a tag or digest already$/),
);

test.each<[string, Command, string[], unknown]>([
  [
    "init's command as a line is for the shell",
    init,
    ["--cmd", "echo $HOME", "."],
    { cmd: ["/bin/sh", "-c", "echo $HOME"] },
  ],
  ["init's command as a list is exact", init, ["--entrypoint", ' ["a","b c"]', "."], { entrypoint: ["a", "b c"] }],
  ["init's command may be empty", init, ["--cmd=", "."], { cmd: [] }],
  ["logs' tail counts lines", logs, ["-n5", "web"], { tail: 5 }],
  ["or takes all", logs, ["--tail", "all", "web"], { tail: undefined }],
])("%s", (_, command, args, flags) => expect<unknown>(parse(command, args).flags).toEqual(flags));

test.each<[string, Command, string[]]>([
  ["a list with a number", init, ["--cmd", '["a", 1]', "."]],
  ["a list that is not closed", init, ["--cmd", '["a"', "."]],
  ["a negative number of lines", logs, ["--tail", "-5", "web"]],
  ["lines in words", logs, ["--tail", "some", "web"]],
  ["a time in words", logs, ["--since", "yesterday", "web"]],
])("refuses %s", (_, command, args) => expect(() => parse(command, args)).toThrow(/^Cannot use/));
