/** Kubernetes `v1` Namespace. */
import type { NamespaceObject, ObjectMeta } from "../model.ts";
import type { Fields } from "./reader.ts";

export function decodeNamespace(root: Fields, meta: ObjectMeta): NamespaceObject {
  // `spec` holds only finalizers, which are the API server's.
  root.accept("spec");
  return { kind: "Namespace", meta };
}
