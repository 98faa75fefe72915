import type { SpiffeId } from "./spiffe-id.ts";
import type { TrustDomain } from "./trust-domain.ts";

/** The identity by which clients know the control plane of a trust domain; no workload ever gets it. */
export function controlPlaneIdentity(trustDomain: TrustDomain): SpiffeId {
  return { trustDomain, namespace: "istio-system", serviceAccount: "garrison" };
}
