/**
 * Fails the test that has left something behind. Not where it is found, which is when `await using` ends: of a test that
 * fails anyway, Bun would show neither what it failed by nor what was left.
 */
import { afterEach, beforeEach } from "bun:test";

let isInTest = false;
const found: string[] = [];

beforeEach(() => {
  isInTest = true;
});

afterEach(() => {
  isInTest = false;
  const lines = found.splice(0);
  if (lines.length > 0) fail(lines);
});

/** @param lines What there is that should not be; none is well. */
export function leftBehind(lines: readonly string[]): void {
  if (isInTest) found.push(...lines);
  else if (lines.length > 0) fail(lines);
}

function fail(lines: readonly string[]): never {
  throw new Error(`Left behind:\n${lines.join("\n")}`);
}
