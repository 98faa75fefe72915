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
