/** Lists of the same objects made the same list, so that what is made of one is found again under it. */

class Branch<T extends object> {
  readonly next = new WeakMap<T, Branch<T>>();
  list: readonly T[] | undefined;
}

/** Lists are remembered as long as their objects live. */
export class InternedLists<T extends object> {
  readonly #root = new Branch<T>();

  /** The first list of the same objects in the same order. It must never change. */
  of(list: readonly T[]): readonly T[] {
    let branch = this.#root;
    for (const item of list) {
      const next = branch.next.get(item) ?? new Branch<T>();
      branch.next.set(item, next);
      branch = next;
    }
    branch.list ??= list;
    return branch.list;
  }
}
