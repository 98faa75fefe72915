/** The TLS of the mesh: mutual, 1.2 or later, authenticated encryption only. */
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import type { Protocol } from "../policy/model.ts";
import type { TlsMaterial } from "../rpc/credentials.ts";

/** TLS 1.3's suites, and of 1.2 those with forward secrecy and GCM (Istio XD-3); no CBC (CVE-2026-47775). */
const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
].join(":");

/** Of every connection, by whosever certificates. */
export const TLS_PARAMETERS = { minVersion: "TLSv1.2", maxVersion: "TLSv1.3", ciphers: CIPHERS, honorCipherOrder: true } as const;

/** For servers and clients alike: both present the workload's certificate and trust the same roots. */
export function contextOptions({ key, chain, roots }: TlsMaterial): SecureContextOptions {
  return { key, cert: chain, ca: roots, ...TLS_PARAMETERS };
}

/** The context of new client connections. Throws what OpenSSL makes of bad PEM. */
export function clientContext(material: TlsMaterial): SecureContext {
  return createSecureContext(contextOptions(material));
}

/** What a proxy offers to a peer: Istio's names first, for proxies that tell mesh traffic by them (Istio SN-3). */
export const CLIENT_ALPN = {
  http: ["istio-http/1.1", "istio", "http/1.1"],
  http2: ["istio-h2", "istio", "h2"],
  tcp: ["istio"],
} as const satisfies Record<Protocol, readonly string[]>;

/** What an HTTP port takes, best first; `istio` alone leaves the version to the first bytes. */
const SERVER_ALPN_HTTP = ["h2", "http/1.1", "istio-h2", "istio-http/1.1", "istio"] as const;

/** The protocol for what the client offers; undefined refuses the handshake, as TLS demands (RFC 7301 §3.2). */
export function chooseAlpn(protocol: Protocol, offered: readonly string[]): string | undefined {
  // Behind a TCP port the application's protocol is its own matter: whatever the client named first.
  if (protocol === "tcp") return offered.includes("istio") ? "istio" : offered[0];
  return SERVER_ALPN_HTTP.find((name) => offered.includes(name));
}

/** The HTTP version that an ALPN name stands for; undefined: the first bytes tell. */
export function httpVersionOf(alpn: string | false | null): "1.1" | "2" | undefined {
  if (alpn === "h2" || alpn === "istio-h2") return "2";
  return alpn === "http/1.1" || alpn === "istio-http/1.1" ? "1.1" : undefined;
}
