/** The name that `word` was most probably meant to be, if one is near enough. */
export function nearest(word: string, names: readonly string[]): string | undefined {
  let best: string | undefined;
  // One mistake in three letters; more is another word.
  let least = Math.min(3, Math.floor(word.replace(/^-+/, "").length / 3) + 1);
  for (const name of names) {
    if (Math.abs(name.length - word.length) > least) continue;
    const distance = editDistance(word, name);
    if (distance < least || (distance === least && best === undefined && distance < name.length)) {
      best = name;
      least = distance;
    }
  }
  return best;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(replace, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
}
