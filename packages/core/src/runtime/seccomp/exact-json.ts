/**
 * Parses JSON without losing digits: whole numbers past 2^53 become bigint.
 *
 * Arguments in seccomp profiles are uint64, and 0xffffffffffffffff is common there.
 *
 * @throws {SyntaxError} As JSON.parse does.
 */
export function parseExactJson(text: string): unknown {
  return JSON.parse(text, (_, value: unknown, context?: { source?: string }) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^\d+$/.test(context?.source ?? "")
      ? BigInt(context?.source ?? "")
      : value,
  );
}
