/**
 * How long a property is tried: so often, or `BB_FUZZ` times as often (`BB_FUZZ=1000 bun test …` over night).
 *
 * A failure prints its seed and path; `BB_FUZZ_SEED` tries them again.
 */
export function runs(numRuns: number): { numRuns: number; seed?: number } {
  const seed = process.env["BB_FUZZ_SEED"];
  return {
    numRuns: Math.ceil(numRuns * Number(process.env["BB_FUZZ"] ?? 1)),
    ...(seed === undefined ? {} : { seed: Number(seed) }),
  };
}

/** The time that a test with properties may take, which grows with `BB_FUZZ`. */
export const FUZZ_TIMEOUT_MS = 60_000 * Math.max(1, Number(process.env["BB_FUZZ"] ?? 1));
