import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { MASKED_PATHS, READONLY_PATHS, STRICT_MASKED_PATHS, thermalThrottlePaths } from "./masks.ts";

test("thermalThrottlePaths() finds the CPUs that have counters", () => {
  const dir = mkdtempSync(`${tmpdir()}/bb-masks-`);
  try {
    for (const name of ["cpu1", "cpuidle", "cpu12/thermal_throttle", "cpufreq/thermal_throttle"])
      mkdirSync(`${dir}/${name}`, { recursive: true });
    expect(thermalThrottlePaths(dir)).toEqual([]); // the first CPU has none: nobody looks further
    mkdirSync(`${dir}/cpu0/thermal_throttle`, { recursive: true });
    expect(thermalThrottlePaths(dir).sort()).toEqual([`${dir}/cpu0/thermal_throttle`, `${dir}/cpu12/thermal_throttle`]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("no path is listed twice or below another", () => {
  const all = [...MASKED_PATHS, ...STRICT_MASKED_PATHS, ...READONLY_PATHS];
  for (const path of all) expect(all.filter((other) => `${path}/`.startsWith(`${other}/`))).toEqual([path]);
});
