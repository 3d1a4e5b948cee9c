/** Preloaded (`bun test --preload ./test/patient.ts`), makes the limits that tests name for themselves BB_PATIENCE times as long. */
import * as bunTest from "bun:test";
import { patience } from "./patience.ts";

// biome-ignore lint/complexity/noBannedTypes: whatever can be called
type Callable = Function;

const { test, describe, beforeAll, beforeEach, afterAll, afterEach } = bunTest;
const all = { test, describe, beforeAll, beforeEach, afterAll, afterEach };
const patient = Object.entries(all).map(([name, value]) => [name, prolong(value)]);
bunTest.mock.module("bun:test", () => ({ ...bunTest, ...Object.fromEntries(patient) }));

/** `callable` and what is made of it (`.skipIf(…)`, `.each(…)`), with every number beside a function multiplied. */
function prolong<T extends Callable>(callable: T, owner?: unknown): T {
  return new Proxy(callable, {
    apply(target, _, args: unknown[]) {
      const takesLimit = args.some((arg) => typeof arg === "function");
      const longer = takesLimit ? args.map((arg) => (typeof arg === "number" ? patience(arg) : arg)) : args;
      // Bun's functions insist on the object that they are of, which is not this proxy.
      const result: unknown = Reflect.apply(target, owner, longer);
      return typeof result === "function" ? prolong(result) : result;
    },
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? prolong(value, target) : value;
    },
  });
}
