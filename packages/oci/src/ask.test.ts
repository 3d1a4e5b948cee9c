/** What the front reads of a command line (ffi/c/ask.c) is what Bun reads, or it is left to Bun. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { parseArguments } from "./arguments.ts";
import { checkCount } from "./command.ts";
import deletes from "./commands/delete.ts";
import kills from "./commands/kill.ts";
import starts from "./commands/start.ts";
import states from "./commands/state.ts";
import { checkId, directoryOf } from "./container.ts";
import { absolute, GLOBAL_FLAGS } from "./globals.ts";
import { parseLogFormat } from "./log.ts";

const ffi = join(import.meta.dir, "../../../ffi");
const COMMANDS = { start: starts, state: states, kill: kills, delete: deletes };

interface Asked {
  readonly command: string | undefined;
  readonly isForced: boolean;
  readonly signal: number;
  readonly log: string;
  readonly path: string;
}

/** Under sanitizers, of each command line. */
function theirs(lines: readonly (readonly string[])[]): (Asked | undefined)[] {
  const { stdout, stderr } = Bun.spawnSync([join(ffi, "build/fuzz-ask"), ...lines.flatMap((args) => [...args, ";"])]);
  expect(stderr.toString()).toBe("");
  const printed = stdout.toString().split("\n");
  const all = lines.map((args) => {
    const command = printed.shift();
    if (command === "0") return undefined;
    const [words, forced, signal, root, log = "", id, path = ""] = printed.splice(0, 7);
    expect(args[Number(words) - 1]).toBe(["", "start", "state", "kill", "delete"][Number(command)] ?? "");
    expect(path).toBe(`${root}/${id}`);
    return { command: args[Number(words) - 1], isForced: forced === "1", signal: Number(signal), log, path };
  });
  expect(printed).toEqual([""]);
  return all;
}

/** As mod.ts does it. @throws {BoxError} For what it refuses. */
function ours(args: readonly string[]): Asked {
  const { values, rest } = parseArguments(GLOBAL_FLAGS, args);
  const [name = "", ...words] = rest;
  expect([values.version, values.help]).toEqual([undefined, undefined]);
  const command = COMMANDS[name as keyof typeof COMMANDS];
  const { values: own, rest: operands } = parseArguments(command.flags, words, true);
  checkCount(command, operands.length);
  const [id = "", signal = "0"] = operands;
  checkId(id);
  expect((own as { all?: boolean }).all).toBeUndefined();
  const root = values.root ? absolute(values.root) : "/run/bb-oci";
  const isForced = (own as { force?: boolean }).force ?? false;
  parseLogFormat(values["log-format"]);
  const path = directoryOf({ root }, id);
  return { command: name, isForced, signal: Number(signal), log: values.log ?? "", path };
}

test("what the front understands is what Bun understands", () => {
  expect(Bun.spawnSync(["make", "-s", "-C", ffi, "build/fuzz-ask"]).stderr.toString()).toBe("");
  const word = fc.oneof(
    fc.constantFrom("--root", "--log", "--log-format", "--criu", "--rootless", "--systemd-cgroup", "--debug"),
    fc.constantFrom("--root=/x", "-root", "--help", "--version", "--", "-", "", "--all", "-f", "--force", "-force"),
    fc.constantFrom("/run/x", "relative", "/a/../b", "/a/./b", "/.a", "json", "/log"),
    fc.constantFrom(
      "web",
      "a+b_c.d-e",
      "..",
      ".",
      "a/b",
      "-x",
      "é",
      "0",
      "9",
      "64",
      "65",
      "015",
      "TERM",
      "0x9",
      "99999999999",
    ),
  );
  const command = fc.constantFrom("start", "state", "kill", "delete", "create", "internal");
  const option = fc.constantFrom(
    ["--root", "/run/x"],
    ["--log", "/log"],
    ["--log-format", "json"],
    ["--log-format", "bad"],
    ["--systemd-cgroup"],
    ["--rootless", "--root"],
  );
  const likely = fc
    .tuple(fc.array(option, { maxLength: 3 }), command, fc.array(word, { maxLength: 3 }))
    .map(([options, name, words]) => [...options.flat(), name, ...words]);
  const good = fc
    .tuple(
      fc.array(option, { maxLength: 3 }),
      fc.constantFrom(["start", "web"], ["state", "a+b_c.d-e"], ["kill", "web", "9"], ["delete", "web"]),
      fc.array(word, { maxLength: 1 }),
    )
    .map(([options, words, more]) => [...options.flat(), ...words, ...more]);
  const lines = fc.sample(fc.oneof(good, likely, fc.array(fc.oneof(word, command), { maxLength: 6 })), 2000);
  const all = theirs(lines);
  for (const [i, args] of lines.entries()) if (all[i] !== undefined) expect(all[i]).toEqual(ours(args));
  expect(all.filter((asked) => asked !== undefined).length).toBeGreaterThan(50);
});

test("the front understands what engines say", () => {
  const shim = ["--root", "/run/r/moby", "--log", "/b/log.json", "--log-format", "json", "--systemd-cgroup"];
  const words = [
    ["start", "web"],
    ["state", "web"],
    ["kill", "web", "15"],
    ["delete", "web"],
    ["delete", "--force", "web"],
  ];
  const lines = [...words, ...words.map((each) => [...shim, ...each])];
  expect(theirs(lines)).toEqual(lines.map(ours));
});

test("paths and IDs of any length stay within theirs", () => {
  const lines = [1000, 1023, 1024, 1025, 5000].flatMap((length) =>
    [3000, 4096 - 16 - 3 - length, 4096 - 16 - 2 - length, 4096 - 16 - 1 - length, 5000]
      .filter((root) => root > 0)
      .map((root) => ["--root", `/${"r".repeat(root)}`, "start", "i".repeat(length)]),
  );
  const all = theirs(lines);
  for (const [i, args] of lines.entries()) if (all[i] !== undefined) expect(all[i]).toEqual(ours(args));
  expect(all.filter((asked) => asked !== undefined).length).toBeGreaterThan(4);
});
