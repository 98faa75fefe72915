/** The TLS of the mesh: mutual, 1.2 or later, authenticated encryption only. */
import type { Socket } from "node:net";
import { type SecureContextOptions, TLSSocket } from "node:tls";
import { DEFAULT_MESH_TLS, type MeshTls } from "../policy/mesh-config.ts";
import type { Protocol } from "../policy/model.ts";
import type { TlsMaterial } from "../rpc/credentials.ts";
import { keyExchangeGroup } from "./key-exchange.ts";

/** TLS 1.3's suites, which no setting changes; all with authenticated encryption and forward secrecy. */
const SUITES_1_3 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"];

/** Of a connection, by whosever certificates. No CBC (CVE-2026-47775). */
export function tlsParameters({ minVersion, cipherSuites, ecdhCurves }: MeshTls = DEFAULT_MESH_TLS): SecureContextOptions {
  return {
    minVersion: `TLSv${minVersion}`,
    maxVersion: "TLSv1.3",
    ciphers: [...SUITES_1_3, ...cipherSuites].join(":"),
    honorCipherOrder: true,
    ...(ecdhCurves.length === 0 ? {} : { ecdhCurve: ecdhCurves.join(":") }),
  };
}

/** For servers and clients alike: both present the workload's certificate and trust the same roots. */
export function contextOptions({ key, chain }: TlsMaterial, roots: string, tls?: MeshTls): SecureContextOptions {
  return { key, cert: chain, ca: roots, ...tlsParameters(tls) };
}

/** What an HTTP port takes, best first; `istio` alone leaves the version to the first bytes. */
const SERVER_ALPN_HTTP = ["h2", "http/1.1", "istio-h2", "istio-http/1.1", "istio-http/1.0", "istio", "istio-peer-exchange"] as const;

/** The protocol for what the client offers; undefined refuses the handshake, as TLS demands (RFC 7301 §3.2). */
export function chooseAlpn(protocol: Protocol, offered: readonly string[]): string | undefined {
  // Behind a TCP port the application's protocol is its own matter: whatever the client named first.
  if (protocol === "tcp") return offered.includes("istio") ? "istio" : offered[0];
  return SERVER_ALPN_HTTP.find((name) => offered.includes(name));
}

/** What the handshake settled, as version and suite by their names at IANA, and the group of the key exchange; empty for plaintext. */
export function negotiatedTls(socket: Socket): string {
  if (!(socket instanceof TLSSocket)) return "";
  const { standardName } = socket.getCipher();
  return `${socket.getProtocol() ?? "TLS"} ${standardName} ${keyExchangeGroup(socket)}`.trimEnd();
}

/** The HTTP version that an ALPN name stands for; undefined: the first bytes tell. */
export function httpVersionOf(alpn: string | false | null): "1.1" | "2" | undefined {
  if (alpn === "h2" || alpn === "istio-h2") return "2";
  return alpn === "http/1.1" || alpn === "istio-http/1.1" ? "1.1" : undefined;
}
