/**
 * What gateways are made of: Istio `networking.v1` Gateway and VirtualService, as far as they are decoded, and the Secrets
 * that hold certificates for outsiders.
 */
import type { Place } from "../core/diagnostic.ts";
import type { SecretText } from "../core/secret-text.ts";

// === Gateway ===

/** Istio `Server.hosts[]`: `HOST` or `NAMESPACE/HOST`; the namespace says whose VirtualServices may serve the host. */
export interface ServerHost {
  /** `*` any, `.` the Gateway's own. */
  readonly namespace: string;
  /** In lower case: `*`, `*.DOMAIN` or a name. */
  readonly host: string;
}

export type TlsVersion = "TLSv1.2" | "TLSv1.3";

/** Of TLS 1.2, by OpenSSL's names: authenticated encryption with forward secrecy. TLS 1.3 has no others. */
export const TLS12_SUITES = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
] as const;

export type Tls12Suite = (typeof TLS12_SUITES)[number];

/** What a server asks of a handshake, whoever its clients are. */
export interface TlsParameters {
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion;
  /** None: all. */
  readonly cipherSuites: readonly Tls12Suite[];
}

/** What a client certificate must be besides good; each list is OR, an empty one asks for nothing, and all must hold. */
export interface ClientCertificateRules {
  /** Exactly one of its names: DNS, URI, IP or e-mail. */
  readonly subjectAltNames: readonly string[];
  /** SHA-256 of the certificate, in lower-case hex; or of its SubjectPublicKeyInfo, in base64. One of either list is enough. */
  readonly certificateHashes: readonly string[];
  readonly spkiHashes: readonly string[];
}

/** For clients that are not of the mesh. */
export interface OutsideTls extends TlsParameters {
  readonly mode: "SIMPLE" | "MUTUAL" | "OPTIONAL_MUTUAL";
  /** A Secret of the gateway workload's own namespace (SN-8). */
  readonly credentialName: string;
  /** Another one that holds the CA's certificates; undefined: `credentialName-cacert`, or `credentialName` itself. */
  readonly caCredentialName: string | undefined;
  readonly clients: ClientCertificateRules;
}

export type ServerTls = OutsideTls | { readonly mode: "ISTIO_MUTUAL" };

/** Istio `Gateway.servers[]`. */
export interface GatewayServer {
  readonly name: string;
  readonly port: number;
  /** The address to listen on; undefined takes the workload's own. */
  readonly bind: string | undefined;
  readonly hosts: readonly ServerHost[];
  /** Undefined: plaintext. */
  readonly tls: ServerTls | undefined;
  /** Plaintext, and every request is sent on to https. */
  readonly httpsRedirect: boolean;
  readonly place: Place;
}

// === VirtualService ===

/** Istio `StringMatch`, without regular expressions. */
export type TextMatch =
  | { readonly kind: "exact"; readonly value: string }
  | { readonly kind: "prefix"; readonly value: string }
  | { readonly kind: "present" };

/** Istio `HTTPMatchRequest`: all that is said must hold. */
export interface RouteMatch {
  readonly path: Exclude<TextMatch, { readonly kind: "present" }> | undefined;
  readonly method: Exclude<TextMatch, { readonly kind: "present" }> | undefined;
  readonly authority: Exclude<TextMatch, { readonly kind: "present" }> | undefined;
  /** Names in lower case. */
  readonly headers: readonly { readonly name: string; readonly value: TextMatch }[];
}

/** A match with where it counts. */
export interface ScopedMatch extends RouteMatch {
  /** The server's port; undefined: any. */
  readonly port: number | undefined;
  /** As in VirtualService `gateways`; none: all of them. */
  readonly gateways: readonly string[];
}

/** Istio `HTTPRoute`. */
export interface HttpRoute {
  readonly name: string;
  /** OR; none: everything. */
  readonly matches: readonly ScopedMatch[];
  readonly destination: {
    readonly host: string;
    /** Undefined: the service's only port. */
    readonly port: number | undefined;
    readonly place: Place;
  };
}

// === Secret ===

/** Kubernetes Secret, as far as certificates go. Absent parts are undefined. */
export interface SecretContents {
  /** PEM, the leaf first. */
  readonly chain: string | undefined;
  readonly key: SecretText | undefined;
  /** PEM of CA certificates. */
  readonly ca: string | undefined;
  /** PEM. */
  readonly crl: string | undefined;
}
