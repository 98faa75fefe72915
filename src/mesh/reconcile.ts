/** What is equal in two states of the mesh is made the same object, so that whoever compares need only look at identity. */

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function sameItems(left: readonly unknown[], right: readonly unknown[]): boolean {
  return left.length === right.length && left.every((value, index) => value === right[index]);
}

function reconcileSets(before: ReadonlySet<unknown>, after: ReadonlySet<unknown>): ReadonlySet<unknown> {
  const now = [...after];
  return before.size === now.length && [...before].every((value, index) => value === now[index]) ? before : after;
}

/**
 * From one state to the next. It remembers what became of each object, since several share a part before and after. What it
 * remembers holds the state before, so that it must go with the step: kept for longer, every state would hold the one before it.
 */
export class Reconciliation {
  readonly #merged = new WeakMap<object, { readonly before: object; readonly merged: unknown }>();

  /**
   * `after`, with every part that is equal to its counterpart in `before` replaced by it; all of `before` where all is equal.
   * Objects of classes are equal only to themselves. Neither may ever change.
   */
  of<T>(before: unknown, after: T): T;
  of(before: unknown, after: unknown): unknown {
    if (Object.is(before, after)) return before;
    if (!isObject(before) || !isObject(after)) return after;
    const known = this.#merged.get(after);
    if (known?.before === before) return known.merged;
    const merged = this.#merge(before, after);
    this.#merged.set(after, { before, merged });
    return merged;
  }

  #merge(before: object, after: object): unknown {
    if (Array.isArray(before) && Array.isArray(after)) return this.#arrays(before, after);
    if (before instanceof Map && after instanceof Map) return this.#maps(before, after);
    if (before instanceof Set && after instanceof Set) return reconcileSets(before, after);
    return isPlain(before) && isPlain(after) ? this.#objects(before, after) : after;
  }

  /** Where nothing can be taken over, `after` itself: it may be shared. */
  #arrays(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
    const isPaired = before.length === after.length;
    const merged = isPaired ? after.map((value, index) => this.of(before[index], value)) : this.#pairedFromEnds(before, after);
    return [before, after].find((list) => sameItems(merged, list)) ?? merged;
  }

  /** Of lists of two lengths: what was put in or taken out leaves all others their partners. */
  #pairedFromEnds(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
    const shorter = Math.min(before.length, after.length);
    const merged = [...after];
    const isPartner = (left: number, right: number): boolean => {
      const [partner, value] = [before[left], after[right]];
      const kept = this.of(partner, value);
      if (kept === partner) merged[right] = kept;
      return kept === partner;
    };
    let first = 0;
    while (first < shorter && isPartner(first, first)) first++;
    let last = 0;
    while (last < shorter - first && isPartner(before.length - 1 - last, after.length - 1 - last)) last++;
    return merged;
  }

  /** Order counts. */
  #maps(before: ReadonlyMap<unknown, unknown>, after: ReadonlyMap<unknown, unknown>): ReadonlyMap<unknown, unknown> {
    const merged = new Map<unknown, unknown>();
    const keys = before.keys();
    let [isBefore, isAfter] = [before.size === after.size, true];
    for (const [key, value] of after) {
      const known = before.get(key);
      const kept = this.of(known, value);
      isBefore &&= kept === known && keys.next().value === key;
      isAfter &&= kept === value;
      merged.set(key, kept);
    }
    if (isBefore) return before;
    return isAfter ? after : merged;
  }

  /** Looked through without lists of keys: this is done for every part of every policy. */
  #objects(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): object {
    let [isBefore, isAfter, more] = [true, true, 0];
    for (const key in after) {
      const [known, value] = [before[key], after[key]];
      const kept = this.of(known, value);
      isBefore &&= kept === known && Object.hasOwn(before, key);
      isAfter &&= kept === value;
      more += 1;
    }
    if (isBefore) for (const _ in before) more -= 1;
    if (isBefore && more === 0) return before;
    return isAfter ? after : Object.fromEntries(Object.entries(after).map(([key, value]) => [key, this.of(before[key], value)]));
  }
}

/** The one step from a state to the next. */
export function reconcile<T>(before: unknown, after: T): T {
  return new Reconciliation().of(before, after);
}
