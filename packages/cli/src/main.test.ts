import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { aliases, commands, groups } from "./commands.ts";

const MAIN = join(import.meta.dir, "main.ts");

interface Result {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

async function bb(...args: string[]): Promise<Result> {
  await using process = Bun.spawn([Bun.argv[0] ?? "bun", MAIN, ...args], {
    stdout: "pipe",
    stderr: "pipe",
    stdin: "ignore",
  });
  const [out, err, status] = await Promise.all([process.stdout.text(), process.stderr.text(), process.exited]);
  return { status, out, err };
}

describe("the program", () => {
  test("without words shows what there is", async () => {
    const { status, out, err } = await bb();
    expect({ status, err }).toEqual({ status: 0, err: "" });
    for (const name of Object.keys(commands)) expect(out).toContain(` ${name} `);
  });

  test.each<[string, string[], string]>([
    [
      "an unknown command",
      ["rnu"],
      'bb: Cannot run "bb rnu": there is no such command\nhint: Did you mean "bb run"?\n',
    ],
    [
      "one that every object has",
      ["constructor"],
      'bb: Cannot run "bb constructor": there is no such command\nhint: See "bb --help"\n',
    ],
    [
      "one of a group",
      ["image", "exec"],
      'bb: Cannot run "bb image exec": there is no such command\nhint: See "bb image --help"\n',
    ],
    [
      "a flag",
      ["ps", "--al"],
      'bb: Cannot run "bb ps": it has no flag "--al"\nhint: Did you mean "--all"? See "bb ps --help"\n',
    ],
  ])("refuses %s with 125 and nothing on standard output", async (_, args, err) => {
    expect(await bb(...args)).toEqual({ status: 125, out: "", err });
  });

  test("shows a command's flags, operands and examples", async () => {
    const { status, out } = await bb("image", "rm", "--help");
    expect(status).toBe(0);
    expect(out).toMatchInlineSnapshot(`
      "Remove images (bb image rm)

      USAGE bb image rm [OPTIONS] IMAGE [IMAGE...]

      OPTIONS

        -f, --force  Even if it has several names or containers that have ended

      EXAMPLES

        bb rmi alpine:3.20
      "
    `);
  });
});

test("output that cannot be written is a failure that says why", async () => {
  await using process = Bun.spawn([Bun.argv[0] ?? "bun", MAIN, "--help"], {
    stdout: Bun.file("/dev/full"),
    stderr: "pipe",
  });
  expect(await process.stderr.text()).toStartWith("bb: ENOSPC: no space left on device, write\n");
  expect(await process.exited).toBe(1);
});

test("every command says what it is, shows an example, and has each short flag once", async () => {
  for (const [name, load] of Object.entries(commands)) {
    const { default: command } = await load();
    const shorts = Object.values(command.flags).flatMap(({ short }) => short ?? []);
    expect([command.name, command.summary.length > 0, command.examples.length > 0]).toEqual([name, true, true]);
    expect([name, new Set(shorts).size]).toEqual([name, shorts.length]);
  }
});

test("aliases and groups name commands that exist, or have their own", async () => {
  for (const name of Object.values(aliases)) expect(commands).toHaveProperty(name);
  for (const [group, words] of Object.entries(groups)) {
    for (const found of Object.values(words)) {
      if (typeof found === "string") expect(commands).toHaveProperty(found);
      else expect((await found()).default.name).toStartWith(`${group} `);
    }
  }
});

test("a hostile working directory changes nothing", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bb-cli-"));
  using _ = { [Symbol.dispose]: () => rmSync(dir, { recursive: true }) };
  const evil = `console.log("evil");`;
  writeFileSync(join(dir, "evil.ts"), evil);
  writeFileSync(join(dir, "bunfig.toml"), 'preload = ["./evil.ts"]');
  writeFileSync(join(dir, ".env"), "BUN_OPTIONS=--preload=./evil.ts\nNO_COLOR=\n");
  writeFileSync(join(dir, "package.json"), '{ "imports": { "#x": "./evil.ts" }, "main": "evil.ts" }');
  writeFileSync(
    join(dir, "tsconfig.json"),
    '{ "compilerOptions": { "baseUrl": ".", "paths": { "*": ["./evil.ts"], "@bantubox/core": ["./evil.ts"] } } }',
  );
  // As a shell does it: by the first line of the file.
  await using process = Bun.spawn([MAIN, "rm", "--help"], { cwd: dir, stdout: "pipe", stderr: "pipe" });
  expect(await process.stderr.text()).toBe("");
  const out = await process.stdout.text();
  expect(out).toStartWith("Remove containers");
  expect(out).not.toContain("evil");
});
