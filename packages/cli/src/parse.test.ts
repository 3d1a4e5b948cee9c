import { describe, expect, test } from "bun:test";
import { BoxError } from "@bantubox/core";
import fc from "fast-check";
import type { Command, Globals } from "./command.ts";
import execCommand from "./commands/exec.ts";
import ps from "./commands/ps.ts";
import run from "./commands/run.ts";
import stop from "./commands/stop.ts";
import { parse, parseGlobals } from "./parse.ts";

function parsed(command: Command, args: string[]): unknown {
  const { flags, operands, help } = parse(command, args);
  return help ? "help" : { flags, operands };
}

function messageOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof BoxError && error.code === "usage") return `${error.message} | ${error.hint ?? ""}`;
    throw error;
  }
  return "no error";
}

describe("parse()", () => {
  test.each<[string, Command, string[], unknown]>([
    [
      "flags after the image belong to the command inside",
      run,
      ["--rm", "alpine", "ls", "-d", "/tmp"],
      { flags: { rm: true }, operands: ["alpine", "ls", "-d", "/tmp"] },
    ],
    [
      "--help after the image does too",
      run,
      ["alpine", "ls", "--help"],
      { flags: {}, operands: ["alpine", "ls", "--help"] },
    ],
    ["--help may have a value", stop, ["--help=false", "a"], { flags: {}, operands: ["a"] }],
    ["-- after the image does too", run, ["alpine", "--", "ls"], { flags: {}, operands: ["alpine", "--", "ls"] }],
    ["-- ends flags", run, ["--rm", "--", "alpine", "-x"], { flags: { rm: true }, operands: ["alpine", "-x"] }],
    ["-- ends flags of other commands", stop, ["--", "-t"], { flags: {}, operands: ["-t"] }],
    ["a lone - is an operand", stop, ["-"], { flags: {}, operands: ["-"] }],
    [
      "short flags stand together",
      run,
      ["-dit", "a"],
      { flags: { detach: true, interactive: true, tty: true }, operands: ["a"] },
    ],
    [
      "the last of them may have a value",
      run,
      ["-itw/x", "a"],
      { flags: { interactive: true, tty: true, workdir: "/x" }, operands: ["a"] },
    ],
    [
      "or take the next word",
      run,
      ["-itw", "/x", "a"],
      { flags: { interactive: true, tty: true, workdir: "/x" }, operands: ["a"] },
    ],
    [
      "a list keeps every value, however it is written",
      run,
      ["-eA=1", "-e", "B=2", "--env=C=3", "--env", "D=4", "-e=E=5", "a"],
      { flags: { env: ["A=1", "B=2", "C=3", "D=4", "E=5"] }, operands: ["a"] },
    ],
    [
      "of a string the last one counts",
      run,
      ["--name", "x", "--name=y", "a"],
      { flags: { name: "y" }, operands: ["a"] },
    ],
    ["a value may look like a flag", run, ["--name", "--rm", "a"], { flags: { name: "--rm" }, operands: ["a"] }],
    ["a value may be empty", run, ["--entrypoint", "", "a"], { flags: { entrypoint: "" }, operands: ["a"] }],
    ["an empty value is none", run, ["--name", "", "-h=", "--workdir=", "a"], { flags: {}, operands: ["a"] }],
    ["and takes an earlier one back", run, ["--name", "b", "--name", "", "a"], { flags: {}, operands: ["a"] }],
    ["a value may be empty behind =", run, ["--entrypoint=", "a"], { flags: { entrypoint: "" }, operands: ["a"] }],
    [
      "booleans take a value behind = only",
      run,
      ["--rm=false", "-i=T", "a"],
      { flags: { rm: false, interactive: true }, operands: ["a"] },
    ],
    ["an alias fills the flag itself", run, ["--net=none", "a"], { flags: { network: "none" }, operands: ["a"] }],
    ["run's -h is the host name", run, ["-h", "web", "a"], { flags: { hostname: "web" }, operands: ["a"] }],
    ["other commands' -h is the help", ps, ["-h"], "help"],
    ["--help before the image is the help", run, ["--rm", "--help"], "help"],
    [
      "exec's flags end at the container",
      execCommand,
      ["-u", "1", "web", "sh", "-c", "id"],
      { flags: { user: "1" }, operands: ["web", "sh", "-c", "id"] },
    ],
    [
      "elsewhere flags and operands may mix",
      stop,
      ["a", "-t", "3", "b"],
      { flags: { timeout: 3 }, operands: ["a", "b"] },
    ],
  ])("%s", (_, command, args, expected) => expect(parsed(command, args)).toEqual(expected));

  test.each<[string[], string]>([
    [["--bogus", "a"], 'Cannot run "bb run": it has no flag "--bogus" | See "bb run --help"'],
    [
      ["--detatch", "a"],
      'Cannot run "bb run": it has no flag "--detatch" | Did you mean "--detach"? See "bb run --help"',
    ],
    [["--no-rm", "a"], 'Cannot run "bb run": it has no flag "--no-rm" | See "bb run --help"'],
    [["-ix", "a"], 'Cannot run "bb run": it has no flag "-x" | See "bb run --help"'],
    [["--__proto__=1", "a"], 'Cannot run "bb run": it has no flag "--__proto__" | See "bb run --help"'],
    [["--constructor", "a"], 'Cannot run "bb run": it has no flag "--constructor" | See "bb run --help"'],
    [["--name"], 'Cannot use "--name": it needs a value | See "bb run --help"'],
    [["-e"], 'Cannot use "-e": it needs a value | See "bb run --help"'],
    [["--rm=yes", "a"], 'Cannot use "yes" for --rm: it is neither true nor false | '],
    [["--rm=", "a"], 'Cannot use "" for --rm: it is neither true nor false | '],
    [["--help=yes", "a"], 'Cannot use "yes" for --help: it is neither true nor false | '],
    [["--hostname", "a\0b", "a"], "Cannot use the value of --hostname: it contains a NUL character | "],
    [
      [],
      'Cannot run "bb run": it takes at least 1 and got 0 arguments | Write "bb run [flags] IMAGE [COMMAND] [ARG...]". See "bb run --help"',
    ],
  ])("refuses %j", (args, expected) => expect(messageOf(() => parse(run, args))).toBe(expected));

  test("what follows the image comes out as it went in, whatever it is", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (rest) => {
        expect(parse(run, ["-i", "image", ...rest]).operands).toEqual(["image", ...rest]);
      }),
    );
  });

  test("any command line is parsed or is a usage error", () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom("-it", "--", "-e", "--env", "--rm", "-v", "/a:/b", "--memory=1g", "--root", "x"),
    );
    fc.assert(fc.property(fc.array(word), (args) => void messageOf(() => parse(run, args))));
  });

  test("global flags go to the globals, before and behind the command", () => {
    const globals: Globals = {};
    expect(parseGlobals(["--root", "/r", "--debug", "ps", "--run-root=/x"], globals)).toBe(3);
    parse(ps, ["--run-root=/x", "-a"], globals);
    expect(globals).toEqual({ root: "/r", debug: true, runRoot: "/x" });
  });
});
