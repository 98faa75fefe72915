/** Kubernetes `v1` ServiceAccount. */
import type { ObjectMeta, ServiceAccountObject } from "../model.ts";
import type { Fields } from "./reader.ts";

export function decodeServiceAccount(root: Fields, meta: ObjectMeta): ServiceAccountObject {
  // What pods mount and pull their images with; there are no pods here, and no identity comes of it.
  root.accept("secrets", "imagePullSecrets", "automountServiceAccountToken");
  return { kind: "ServiceAccount", meta };
}
