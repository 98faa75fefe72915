/** Values in the order of their keys, one list after another: a change copies the list and nothing of what is in it. */

/** More changes than this at once are sorted in; fewer are each looked up. */
const FEW = 64;

export class Ordered<T extends {}> {
  /** Sorted; each once. */
  readonly keys: readonly string[];
  /** In the order of their keys. */
  readonly values: readonly T[];

  constructor(keys: readonly string[] = [], values: readonly T[] = []) {
    this.keys = keys;
    this.values = values;
  }

  get(key: string): T | undefined {
    const index = placeOf(this.keys, key);
    return this.keys[index] === key ? this.values[index] : undefined;
  }

  /** With these values under their keys; undefined takes one out. */
  with(changes: ReadonlyMap<string, T | undefined>): Ordered<T> {
    if (changes.size === 0) return this;
    if (changes.size > FEW) return this.#merged(changes);
    const [keys, values] = [[...this.keys], [...this.values]];
    for (const [key, value] of changes) {
      const index = placeOf(keys, key);
      const known = keys[index] === key ? 1 : 0;
      if (value === undefined) {
        keys.splice(index, known);
        values.splice(index, known);
      } else {
        keys.splice(index, known, key);
        values.splice(index, known, value);
      }
    }
    return new Ordered(keys, values);
  }

  #merged(changes: ReadonlyMap<string, T | undefined>): Ordered<T> {
    const all = new Map<string, T>();
    for (const [index, value] of this.values.entries()) all.set(this.keys[index] ?? "", value);
    for (const [key, value] of changes) {
      if (value === undefined) all.delete(key);
      else all.set(key, value);
    }
    const keys = [...all.keys()].sort();
    return new Ordered(
      keys,
      keys.map((key) => all.get(key)).filter((value) => value !== undefined),
    );
  }
}

/** The first index whose key is not before `key`. */
function placeOf(keys: readonly string[], key: string): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((keys[middle] ?? "") < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
