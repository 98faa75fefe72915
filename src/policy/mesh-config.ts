/** What Istio's MeshConfig says that concerns security, decoded (`mesh.v1alpha1.MeshConfig`). */
import type { Place } from "../core/diagnostic.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import type { ExtensionProvider } from "./extension-provider.ts";

/** What becomes of a path before it is matched and forwarded (Istio `ProxyPathNormalization`; DEFAULT is BASE). */
export type PathNormalization = "NONE" | "BASE" | "MERGE_SLASHES" | "DECODE_AND_MERGE_SLASHES";

/** The suites of TLS 1.2 that both proxies offer: authenticated encryption with forward secrecy, by OpenSSL's names, best first. */
export const CIPHER_SUITES = [
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
] as const;

export type CipherSuite = (typeof CIPHER_SUITES)[number];

/** Groups for the key exchange that both proxies know, by the names of Istio's `ecdhCurves`. */
export const ECDH_CURVES = ["X25519MLKEM768", "X25519", "P-256", "P-384", "P-521"] as const;

export type EcdhCurve = (typeof ECDH_CURVES)[number];

/** The TLS between workloads (Istio `meshMTLS`). */
export interface MeshTls {
  readonly minVersion: "1.2" | "1.3";
  /** Of TLS 1.2; 1.3 has its own. Never empty. */
  readonly cipherSuites: readonly CipherSuite[];
  /** Best first; empty leaves it to the proxy. */
  readonly ecdhCurves: readonly EcdhCurve[];
}

/** The part of a ProxyConfig that concerns security: of `defaultConfig`, or of the annotation `proxy.istio.io/config`. */
export interface ProxyConfig {
  /** How many proxies in front of this one are trusted to name the client in X-Forwarded-For; undefined leaves it to the mesh. */
  readonly numTrustedProxies: number | undefined;
  /** Whether denied clients are told the rule (`x-garrison-denied-by`); undefined leaves it to the mesh. */
  readonly tellsDenials: boolean | undefined;
  /** Whether the workload's traffic is redirected to its proxy; absent leaves it to the mesh, and that is not. */
  readonly interceptionMode?: InterceptionMode;
  /** Of the mesh's `defaultConfig` alone. */
  readonly caCertificatesPem?: readonly RootsSource[];
  /** Istio's `ISTIO_META_DNS_CAPTURE`: the agent answers the workload's questions of DNS; absent leaves it to the mesh, and that is not. */
  readonly dnsCapture?: boolean;
  /** Istio's `ISTIO_META_DNS_AUTO_ALLOCATE`: services without an address are given one; absent leaves it to the mesh, and that is, with capture. */
  readonly dnsAutoAllocate?: boolean;
}

/** What becomes of captured traffic to a destination that nothing describes (Istio `OutboundTrafficPolicy.mode`). */
export type OutboundTrafficPolicy = "ALLOW_ANY" | "REGISTRY_ONLY";

/** Istio's `interceptionMode`, of which TPROXY is not supported. */
export type InterceptionMode = "REDIRECT" | "NONE";

/** Roots that verify peers beside the CA's own (Istio `caCertificates`, and each text of `caCertificatesPem`). */
export interface RootsSource {
  /** Such as `caCertificates[0]`. */
  readonly path: string;
  readonly place: Place;
  readonly from: { readonly kind: "pem"; readonly pem: string } | { readonly kind: "bundle"; readonly url: string };
  /** Whose identities they verify. Empty: the mesh's own, by all its names. */
  readonly trustDomains: readonly TrustDomain[];
}

/** Which namespaces see what does not say so itself, as `exportTo` says it; absent is all. */
export interface DefaultExportTo {
  readonly services?: readonly string[];
  readonly destinationRules?: readonly string[];
  readonly virtualServices?: readonly string[];
}

export interface MeshConfig {
  /** Undefined leaves it to the command line. */
  readonly trustDomain: TrustDomain | undefined;
  /** Other names of the trust domain: peers of them are let in, and policies that name the one mean the other. */
  readonly trustDomainAliases: readonly TrustDomain[];
  /** Undefined leaves it to the command line. */
  readonly rootNamespace: string | undefined;
  readonly pathNormalization: PathNormalization;
  readonly meshMtls: MeshTls;
  /** Whether proxies speak mutual TLS to whoever takes it. */
  readonly enableAutoMtls: boolean;
  readonly defaultConfig: ProxyConfig;
  /** What becomes of captured traffic to destinations that nothing describes; absent is ALLOW_ANY. */
  readonly outboundTrafficPolicy?: OutboundTrafficPolicy;
  /** Those that CUSTOM policies may name, by name. */
  readonly extensionProviders: ReadonlyMap<string, ExtensionProvider>;
  /** Absent where nothing is said. */
  readonly defaultExportTo?: DefaultExportTo;
  /** Absent where there are none. */
  readonly caCertificates?: readonly RootsSource[];
}

export const NO_PROXY_CONFIG: ProxyConfig = { numTrustedProxies: undefined, tellsDenials: undefined };

export const DEFAULT_MESH_TLS: MeshTls = { minVersion: "1.2", cipherSuites: CIPHER_SUITES, ecdhCurves: [] };

/** What holds where nothing is said. */
export const DEFAULT_MESH_CONFIG: MeshConfig = {
  trustDomain: undefined,
  trustDomainAliases: [],
  rootNamespace: undefined,
  pathNormalization: "BASE",
  meshMtls: DEFAULT_MESH_TLS,
  enableAutoMtls: true,
  defaultConfig: NO_PROXY_CONFIG,
  extensionProviders: new Map(),
};

/** All roots that the mesh's configuration names. */
export function rootsSourcesOf({ caCertificates = [], defaultConfig }: MeshConfig): readonly RootsSource[] {
  return [...caCertificates, ...(defaultConfig.caCertificatesPem ?? [])];
}
