/**
 * How much longer than on the machines that tests were written on everything may take here: BB_PATIENCE, 1 by default.
 * An emulated machine wants 8. It never makes a test wait: it moves only the points where it gives up.
 */
const FACTOR = Number(process.env["BB_PATIENCE"] || 1);

/** A limit in ms, as it is here. */
export function patience(ms: number): number {
  return ms * FACTOR;
}
