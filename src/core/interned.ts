/** Things that say the same made the same thing, so that what is made of one is found again under it. */

/** By key, as long as somebody else has it. */
export class InternedByKey<T extends object> {
  readonly #known = new Map<string, WeakRef<T>>();
  readonly #gone = new FinalizationRegistry<string>((key) => {
    if (this.#known.get(key)?.deref() === undefined) this.#known.delete(key);
  });

  /** What was made of this key before. It must never change. */
  of(key: string, make: () => T): T {
    const before = this.#known.get(key)?.deref();
    if (before !== undefined) return before;
    const made = make();
    this.#known.set(key, new WeakRef(made));
    this.#gone.register(made, key);
    return made;
  }
}

const numbers = new WeakMap<object, number>();
let last = 0;

function numberOf(item: object): number {
  const known = numbers.get(item);
  if (known !== undefined) return known;
  last += 1;
  numbers.set(item, last);
  return last;
}

function hashOf(list: readonly object[]): number {
  let hash = list.length;
  for (const item of list) hash = (Math.imul(hash, 31) + numberOf(item)) | 0;
  return hash;
}

function isSame(left: readonly object[], right: readonly object[]): boolean {
  return left.length === right.length && left.every((item, index) => item === right[index]);
}

/** Lists of the same objects, as long as somebody else has them. */
export class InternedLists<T extends object> {
  /** Several where hashes meet. */
  readonly #known = new Map<number, readonly WeakRef<readonly T[]>[]>();
  readonly #gone = new FinalizationRegistry<number>((hash) => {
    const left = this.#ofHash(hash);
    if (left.length === 0) this.#known.delete(hash);
    else this.#known.set(hash, left);
  });

  /** The first list of the same objects in the same order. It must never change. */
  of(list: readonly T[]): readonly T[] {
    const hash = hashOf(list);
    for (const candidate of this.#known.get(hash) ?? []) {
      const known = candidate.deref();
      if (known !== undefined && isSame(known, list)) return known;
    }
    this.#known.set(hash, [...this.#ofHash(hash), new WeakRef(list)]);
    this.#gone.register(list, hash);
    return list;
  }

  #ofHash(hash: number): readonly WeakRef<readonly T[]>[] {
    return (this.#known.get(hash) ?? []).filter((list) => list.deref() !== undefined);
  }
}
