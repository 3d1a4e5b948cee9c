import { expect, test } from "bun:test";
import { readMountOptions } from "./mount-options.ts";

const LINES = `30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,seclabel,nsdelegate,memory_recursiveprot
31 23 0:26 / /mnt/other rw - cgroup2 none rw
`;

test("options of the whole host are told from a mount's own", () => {
  expect(readMountOptions("/sys/fs/cgroup", LINES)).toEqual({
    mount: "/sys/fs/cgroup",
    names: ["nsdelegate", "memory_recursiveprot"],
  });
  expect(readMountOptions("/mnt/other", LINES).names).toEqual([]);
  expect(readMountOptions("/nowhere", LINES).names).toEqual([]);
});
