/** What is equal in two states of the mesh is made the same object, so that whoever compares need only look at identity. */

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function reconcileArrays(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  const merged = after.map((value, index) => reconcile(before[index], value));
  return before.length === after.length && merged.every((value, index) => value === before[index]) ? before : merged;
}

/** Order counts. */
function reconcileMaps(before: ReadonlyMap<unknown, unknown>, after: ReadonlyMap<unknown, unknown>): ReadonlyMap<unknown, unknown> {
  const merged = new Map([...after].map(([key, value]) => [key, reconcile(before.get(key), value)]));
  const [old, now] = [[...before], [...merged]];
  const same = old.length === now.length && old.every(([key, value], index) => key === now[index]?.[0] && value === now[index]?.[1]);
  return same ? before : merged;
}

function reconcileSets(before: ReadonlySet<unknown>, after: ReadonlySet<unknown>): ReadonlySet<unknown> {
  const now = [...after];
  return before.size === now.length && [...before].every((value, index) => value === now[index]) ? before : after;
}

function reconcileObjects(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): object {
  const merged = Object.fromEntries(Object.entries(after).map(([key, value]) => [key, reconcile(before[key], value)]));
  const keys = Object.keys(before);
  return keys.length === Object.keys(merged).length && keys.every((key) => key in merged && merged[key] === before[key]) ? before : merged;
}

/**
 * `after`, with every part that is equal to its counterpart in `before` replaced by it; all of `before` where all is equal.
 * Objects of classes are equal only to themselves. Neither may ever change.
 */
export function reconcile<T>(before: unknown, after: T): T;
export function reconcile(before: unknown, after: unknown): unknown {
  if (Object.is(before, after)) return before;
  if (Array.isArray(before) && Array.isArray(after)) return reconcileArrays(before, after);
  if (before instanceof Map && after instanceof Map) return reconcileMaps(before, after);
  if (before instanceof Set && after instanceof Set) return reconcileSets(before, after);
  return isPlain(before) && isPlain(after) ? reconcileObjects(before, after) : after;
}
