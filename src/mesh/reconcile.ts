/** What is equal in two states of the mesh is made the same object, so that whoever compares need only look at identity. */

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function sameItems(left: readonly unknown[], right: readonly unknown[]): boolean {
  return left.length === right.length && left.every((value, index) => value === right[index]);
}

/** Where nothing can be taken over, `after` itself: it may be shared. */
function reconcileArrays(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  const merged =
    before.length === after.length ? after.map((value, index) => reconcile(before[index], value)) : pairedFromEnds(before, after);
  return [before, after].find((list) => sameItems(merged, list)) ?? merged;
}

/** Of lists of two lengths: what was put in or taken out leaves all others their partners. */
function pairedFromEnds(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  const shorter = Math.min(before.length, after.length);
  const merged = [...after];
  const isPartner = (left: number, right: number): boolean => {
    const [partner, value] = [before[left], after[right]];
    const kept = reconcile(partner, value);
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
function reconcileMaps(before: ReadonlyMap<unknown, unknown>, after: ReadonlyMap<unknown, unknown>): ReadonlyMap<unknown, unknown> {
  const merged = new Map<unknown, unknown>();
  const keys = before.keys();
  let [isBefore, isAfter] = [before.size === after.size, true];
  for (const [key, value] of after) {
    const known = before.get(key);
    const kept = reconcile(known, value);
    isBefore &&= kept === known && keys.next().value === key;
    isAfter &&= kept === value;
    merged.set(key, kept);
  }
  if (isBefore) return before;
  return isAfter ? after : merged;
}

function reconcileSets(before: ReadonlySet<unknown>, after: ReadonlySet<unknown>): ReadonlySet<unknown> {
  const now = [...after];
  return before.size === now.length && [...before].every((value, index) => value === now[index]) ? before : after;
}

/** Looked through without lists of keys: this is done for every part of every policy. */
function reconcileObjects(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): object {
  let [isBefore, isAfter, more] = [true, true, 0];
  for (const key in after) {
    const [known, value] = [before[key], after[key]];
    const kept = reconcile(known, value);
    isBefore &&= kept === known && Object.hasOwn(before, key);
    isAfter &&= kept === value;
    more += 1;
  }
  if (isBefore) for (const _ in before) more -= 1;
  if (isBefore && more === 0) return before;
  return isAfter ? after : Object.fromEntries(Object.entries(after).map(([key, value]) => [key, reconcile(before[key], value)]));
}

/**
 * `after`, with every part that is equal to its counterpart in `before` replaced by it; all of `before` where all is equal.
 * Objects of classes are equal only to themselves. Neither may ever change.
 */
export function reconcile<T>(before: unknown, after: T): T;
export function reconcile(before: unknown, after: unknown): unknown {
  if (Object.is(before, after)) return before;
  if (!isObject(before) || !isObject(after)) return after;
  const known = made.get(after);
  if (known?.before === before) return known.merged;
  const merged = merge(before, after);
  made.set(after, { before, merged });
  return merged;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** What became of an object the last time. Several that share a part before and after share what becomes of it. */
const made = new WeakMap<object, { readonly before: object; readonly merged: unknown }>();

function merge(before: object, after: object): unknown {
  if (Array.isArray(before) && Array.isArray(after)) return reconcileArrays(before, after);
  if (before instanceof Map && after instanceof Map) return reconcileMaps(before, after);
  if (before instanceof Set && after instanceof Set) return reconcileSets(before, after);
  return isPlain(before) && isPlain(after) ? reconcileObjects(before, after) : after;
}
