/** How mesh traffic is told from other TLS: by what a client offers in its handshake (Istio XD-2, SN-3). */
import type { Protocol } from "../policy/model.ts";

/** A client that offers one of these speaks mutual TLS of the mesh; a PERMISSIVE port takes any other TLS for the application's own. */
export const MESH_ALPN = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"] as const;

/** What a proxy offers: the mesh's names first, then one that a server's HTTP codec can choose (Envoy lacks Istio's ALPN filter). */
export const CLIENT_ALPN = {
  http: ["istio-http/1.1", "istio", "http/1.1"],
  http2: ["istio-h2", "istio", "h2"],
  tcp: ["istio"],
} as const satisfies Record<Protocol, readonly string[]>;

/** What the record says of it: nobody here has read what was in it, nor seen a certificate. */
export const OWN_TLS_PASSED = "TLS that is not the mesh's, passed on as it is";

export function isOfMesh(offered: readonly string[]): boolean {
  return MESH_ALPN.some((name) => offered.includes(name));
}

/** The tag of Envoy's records that has the group of the key exchange, by its name in IANA's registry "TLS Supported Groups". */
export const TLS_GROUP_TAG = "tls_group";
