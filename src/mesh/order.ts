import type { ObjectMeta } from "../policy/model.ts";

function compareText(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Oldest first; equal age falls to name, then namespace (Istio's `sortConfigByCreationTime`, PA-2). */
export function byAge(left: { readonly meta: ObjectMeta }, right: { readonly meta: ObjectMeta }): number {
  return (
    left.meta.created - right.meta.created ||
    compareText(left.meta.name, right.meta.name) ||
    compareText(left.meta.namespace, right.meta.namespace)
  );
}

/** Two lists that are in this order already, as one. */
export function mergedByAge<T extends { readonly meta: ObjectMeta }>(left: readonly T[], right: readonly T[]): readonly T[] {
  const merged: T[] = [];
  let at = 0;
  for (const item of left) {
    for (let other = right[at]; other !== undefined && byAge(other, item) < 0; other = right[at]) {
      merged.push(other);
      at += 1;
    }
    merged.push(item);
  }
  for (const other of right.slice(at)) merged.push(other);
  return merged;
}
