/** "Did you mean". */

const MAX_LENGTH = 64;
const MAX_DISTANCE = 3;

/** Levenshtein's distance, by rows. */
function distance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (const [index, character] of [...left].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= right.length; column++) {
      const substitution = (row[column - 1] ?? 0) + (right[column - 1] === character ? 0 : 1);
      next.push(Math.min(substitution, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}

/** The candidate that a person most likely meant, or undefined: at most every third letter differs, case aside, and no more than three. */
export function closest(text: string, candidates: Iterable<string>): string | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  let best: string | undefined;
  let bestDistance = Math.min(MAX_DISTANCE, Math.ceil(text.length / 3)) + 1;
  for (const candidate of candidates) {
    const found = distance(text.toLowerCase(), candidate.toLowerCase());
    if (found < bestDistance) [best, bestDistance] = [candidate, found];
  }
  return best;
}

/** The help for a word that is not one of `candidates`. */
export function suggestion(text: string, candidates: readonly string[]): string {
  const meant = closest(text, candidates);
  if (meant !== undefined) return `did you mean \`${meant}\`?`;
  const quoted = candidates.map((candidate) => `\`${candidate}\``).join(", ");
  return candidates.length === 1 ? `use ${quoted}` : `use one of ${quoted}`;
}
