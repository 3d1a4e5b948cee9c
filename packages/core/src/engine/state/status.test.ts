import { afterAll, expect, test } from "bun:test";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { call } from "@bantubox/ffi";
import { findContainer, readSpec, writeRow } from "./container.ts";
import { openDatabase } from "./database.ts";
import { containerDirectory } from "./engine.ts";
import { recordFailure } from "./failed-start.ts";
import { nameOf } from "./names.ts";
import { allRowless, recordPath } from "./rowless.ts";
import { readStatus } from "./status.ts";

const LOCK_SH = 1;
const LOCK_EX = 2;
const root = mkdtempSync(join(tmpdir(), "bb-status-"));
const engine = { root, runRoot: join(root, "run"), database: openDatabase(join(root, "db.sqlite")) };
const id = "0123456789abcdef".repeat(4);
const launch = { root: { kind: "directory", path: "/", directory: "/" }, labels: [] } as never;
const times = { createdMs: 1, startedMs: 1 };
const container = { id, name: "name", image: "/", imageName: "/", autoRemove: true, launch, ...times };
mkdirSync(containerDirectory(engine, id), { recursive: true });

afterAll(() => rmSync(root, { recursive: true }));

function writeRecord(name: string, text: string): void {
  writeFileSync(join(containerDirectory(engine, id), name), text);
}

test("an exit record that is torn tells no status", () => {
  writeRecord("exit", "0 1700000000000000000\noom_kill 0\n");
  expect(readStatus(engine, container)).toMatchObject({ state: "exited", exitCode: 0, finishedMs: 1700000000000 });
  for (const text of ["", "0", "\0\0\0\0", "{}", "zero one\n"]) {
    writeRecord("exit", text);
    expect(readStatus(engine, container)).toMatchObject({ state: "exited", exitCode: 255 });
  }
});

test("who only looks at a container is not taken for who starts it", () => {
  rmSync(join(containerDirectory(engine, id), "exit"));
  const directory = openSync(containerDirectory(engine, id), "r");
  for (const [kind, state] of [
    [LOCK_SH, "exited"],
    [LOCK_EX, "created"],
  ] as const) {
    call("flock", undefined, directory, kind);
    expect(readStatus(engine, container).state).toBe(state);
  }
  closeSync(directory);
});

test("how a start failed is written down although somebody looks at the container", async () => {
  const directory = containerDirectory(engine, "f".repeat(64));
  mkdirSync(directory);
  const stays = { ...container, id: "f".repeat(64), name: "stays", autoRemove: false };
  writeRow(engine, stays, "");
  const look = Bun.spawn(["flock", "--shared", directory, "sh", "-c", "echo; sleep 0.2"], { stdout: "pipe" });
  await look.stdout.getReader().read();
  recordFailure(engine, stays.id, false, new Error("it failed"));
  expect(readStatus(engine, stays)).toMatchObject({ state: "exited", exitCode: 128 });
  await look.exited;
  rmSync(directory, { recursive: true });
  engine.database.query("DELETE FROM container WHERE id = ?").run(stays.id);
});

test.each(["", "null", "{}", "[1]", '{"id":"../../etc"}', "\0"])("a container's record that is %j is none", (text) => {
  writeFileSync(recordPath(engine, id), text);
  expect(allRowless(engine)).toEqual([]);
});

test.each(["", "null", "{}", "[1]", '"text"', "\0"])("a config.json that is %j is a broken container's", (text) => {
  writeRecord("config.json", text);
  expect(() => readSpec(engine, container)).toThrow(expect.objectContaining({ code: "broken-container" }));
});

test("a container that has its row, and its record still, is one", () => {
  writeFileSync(recordPath(engine, id), JSON.stringify(container));
  expect(findContainer(engine, "0123")).toMatchObject({ name: nameOf(id), createdMs: expect.any(Number) });
  writeRow(engine, { ...container, name: "other" }, "");
  expect(findContainer(engine, "0123")?.name).toBe("other");
});
