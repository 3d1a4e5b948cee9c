export interface Parallel {
  /** How many are at work at once. */
  readonly limit: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Does `each` for all items, a few at a time. The first failure stops the rest, and is thrown once they have stopped.
 *
 * @returns The results in the order of the items.
 */
export async function inParallel<T, R>(
  items: readonly T[],
  { limit, signal }: Parallel,
  each: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const stop = new AbortController();
  const all = signal === undefined ? stop.signal : AbortSignal.any([stop.signal, signal]);
  const results: R[] = [];
  let failure: { readonly error: unknown } | undefined;
  const waiting = items.entries();
  async function work(): Promise<void> {
    for (const [index, item] of waiting) {
      if (failure !== undefined) return;
      try {
        results[index] = await each(item, all);
      } catch (error) {
        failure ??= { error };
        stop.abort(error);
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work));
  if (failure !== undefined) throw failure.error;
  return results;
}
