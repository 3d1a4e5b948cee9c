import { expect, test } from "bun:test";
import { parseTap } from "./tap.ts";

test("parseTap() reads what bats writes", () => {
  const text = `1..3
ok 1 runc exec (cgroup v2) does not chown cgroup in 229ms # skip test requires cgroups_v2
not ok 2 global --debug in 31ms
# (in test file debug.bats, line 23)
#   \`runc --debug run test' failed
ok 3 runc run`;
  expect(parseTap(text)).toEqual([
    {
      ok: true,
      name: "runc exec (cgroup v2) does not chown cgroup",
      skip: "test requires cgroups_v2",
      milliseconds: 229,
      comments: [],
    },
    {
      ok: false,
      name: "global --debug",
      skip: undefined,
      milliseconds: 31,
      comments: ["(in test file debug.bats, line 23)", "  `runc --debug run test' failed"],
    },
    { ok: true, name: "runc run", skip: undefined, milliseconds: 0, comments: [] },
  ]);
});

test("parseTap() reads what the validation programs write", () => {
  const text =
    "TAP version 13\nok 1 - has expected hostname\nok 2 # SKIP no mounts\nnot ok 3 - root filesystem\n  ---\n";
  expect(parseTap(text).map(({ ok, name, skip }) => ({ ok, name, skip }))).toEqual([
    { ok: true, name: "has expected hostname", skip: undefined },
    { ok: true, name: "", skip: "no mounts" },
    { ok: false, name: "root filesystem", skip: undefined },
  ]);
});
