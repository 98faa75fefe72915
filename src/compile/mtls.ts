/** PeerAuthentication -> the mode of each workload port. The same answer serves the server side and the client side (PA-5). */
import { serversOf } from "../mesh/gateways.ts";
import { narrow } from "../mesh/recording.ts";
import { objectsIn, rootNamespaceOf, selectorMatches } from "../mesh/selection.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import type { MtlsMode, PeerAuthenticationObject } from "../policy/model.ts";
import type { EffectiveMtls } from "./workload-policy.ts";

/** The policies of the three scopes, narrowest first; the oldest of each scope alone counts (PA-1, PA-2, PA-4). */
function scopesOf(snapshot: MeshSnapshot, workload: Workload): readonly (PeerAuthenticationObject | undefined)[] {
  const rootNamespace = rootNamespaceOf(snapshot);
  const own = objectsIn(snapshot, "peerAuthentications", workload.namespace);
  // A selector in the root namespace is ignored (PA-3), so there the narrowest scope is the mesh.
  const selecting = workload.namespace === rootNamespace ? [] : own.filter((policy) => policy.selector.size > 0);
  return [
    selecting.find((policy) => selectorMatches(policy.selector, workload.labels)),
    workload.namespace === rootNamespace ? undefined : own.find((policy) => policy.selector.size === 0),
    objectsIn(snapshot, "peerAuthentications", rootNamespace).find((policy) => policy.selector.size === 0),
  ];
}

/** An invalid policy is closed: only mutual TLS. */
function modeOf(policy: PeerAuthenticationObject | undefined): MtlsMode {
  if (policy === undefined) return "UNSET";
  return policy.mtls === "invalid" ? "STRICT" : policy.mtls;
}

/** The mode of one port of a workload, and the policy that says so; UNSET inherits from the wider scope, and from nothing it is PERMISSIVE. */
export function mtlsOf(
  snapshot: MeshSnapshot,
  workload: Workload,
  port: number,
): { readonly mode: EffectiveMtls; readonly from: PeerAuthenticationObject | undefined } {
  const scopes = scopesOf(snapshot, workload);
  const own = scopes[0];
  const portMode = own === undefined || own.mtls === "invalid" ? "UNSET" : (own.portLevelMtls.get(port) ?? "UNSET");
  if (portMode !== "UNSET") return { mode: portMode, from: own };
  for (const from of scopes) {
    const mode = modeOf(from);
    if (mode !== "UNSET") return { mode, from };
  }
  return { mode: "PERMISSIVE", from: undefined };
}

/** Stands for every port that no policy names: ports begin with 1. */
export const OTHER_PORTS = 0;

/** The ports of a workload that have a mode of their own. */
export function portsWithOwnMode(snapshot: MeshSnapshot, workload: Workload): readonly number[] {
  const [own] = scopesOf(snapshot, workload);
  return own === undefined || own.mtls === "invalid" ? [] : [...own.portLevelMtls.keys()].sort((left, right) => left - right);
}

/** Whether clients come to a port by mutual TLS: at a gateway its servers say so, elsewhere the mode. */
export const acceptsMtls = narrow((snapshot, workload: Workload, port: number): boolean => {
  const servers = serversOf(snapshot, workload);
  if (servers.length === 0) return effectiveMtls(snapshot, workload, port) !== "DISABLE";
  return servers.some((placed) => placed.port === port && placed.server.tls?.mode === "ISTIO_MUTUAL");
});

/** The mode of one port of a workload. */
export const effectiveMtls = narrow((snapshot, workload: Workload, port: number): EffectiveMtls => mtlsOf(snapshot, workload, port).mode);
