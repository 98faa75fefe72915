/**
 * What a compile yields for one workload, and all that the renderers read: plain data that survives JSON, so that it
 * can be shown, compared, pushed to an embedded proxy and kept.
 */
import type { ExtensionProvider } from "../policy/extension-provider.ts";
import type { PublicJwk } from "../policy/jwks.ts";
import type { MeshTls, OutboundTrafficPolicy, PathNormalization } from "../policy/mesh-config.ts";
import type { Clause, ClientCertificateFiles, Endpoint, JwtRuleFields, PolicyAction, Protocol, ServerName } from "../policy/model.ts";
import type { Origin } from "../policy/origin.ts";
import type { ClosedServer, GatewayListener } from "./gateway-policy.ts";

/** `STRICT` only mutual TLS, `PERMISSIVE` also plaintext, `DISABLE` only plaintext. */
export type EffectiveMtls = "STRICT" | "PERMISSIVE" | "DISABLE";

/** When a rule applies. `never` and `always` are the closed forms of policies without rules, and of invalid ones. */
export type Condition =
  | { readonly kind: "never" }
  | { readonly kind: "always" }
  | {
      readonly kind: "when";
      /** OR of AND; empty means no constraint. */
      readonly from: readonly (readonly Clause[])[];
      readonly to: readonly (readonly Clause[])[];
      /** AND. */
      readonly when: readonly Clause[];
    };

export interface CompiledRule {
  readonly origin: Origin;
  readonly condition: Condition;
}

/** A rule of a CUSTOM policy: what it matches is asked of the authorizer. */
export interface CustomRule extends CompiledRule {
  /** The name of one of the workload's `authorizers`. */
  readonly provider: string;
  /** Which of a listener's places its provider has: the lower is asked first. */
  readonly place: number;
}

type SettingsOf<P> = P extends ExtensionProvider ? Omit<P, "service" | "port" | "place"> : never;

/** An extension provider that rules of the workload ask, and where it is. */
export type Authorizer = SettingsOf<ExtensionProvider> & { readonly upstream: UpstreamService };

export type HttpAuthorizer = Extract<Authorizer, { readonly kind: "http" }>;
export type GrpcAuthorizer = Extract<Authorizer, { readonly kind: "grpc" }>;

/**
 * The rules of one protocol, in the order in which they are asked: AUDIT never blocks, CUSTOM, DENY, then ALLOW (AZ-1).
 * CUSTOM comes before tokens are verified (XD-9).
 */
export interface AuthorizationLayers {
  /** By place of their providers: each whose rules match must allow. Absent where there is none. */
  readonly custom?: readonly CustomRule[];
  readonly audit: readonly CompiledRule[];
  readonly deny: readonly CompiledRule[];
  /** Undefined: no ALLOW policy, so what is not denied is allowed. Otherwise what no rule matches is denied. */
  readonly allow: readonly CompiledRule[] | undefined;
  /** Asked with DENY and ALLOW, for the record alone; absent where no policy is a dry run. */
  readonly dryRun?: DryRunLayers;
}

/** The rules of policies that are tried and never enforced (AZ-11). */
export interface DryRunLayers {
  readonly deny: readonly CompiledRule[];
  /** Undefined: no ALLOW policy is a dry run. */
  readonly allow: readonly CompiledRule[] | undefined;
}

/** Where the proxy accepts connections of peers for its workload. */
export interface InboundListener {
  /** Unique in the workload, such as `inbound_8080`. */
  readonly name: string;
  readonly bind: string;
  readonly port: number;
  readonly protocol: Protocol;
  readonly mtls: EffectiveMtls;
  /** The protocol begins with the server: what waits for a client's first byte would wait for ever. */
  readonly serverFirst?: true;
  /** Where the application listens. */
  readonly endpoint: Endpoint;
  /** It is called at whichever of the workload's two addresses its client has called, rather than at `endpoint`, which is the first of them. */
  readonly asCalled?: true;
  /** `NAMESPACE/NAME` of the services that lead here; for the record. */
  readonly services: readonly string[];
}

/** One place that serves a service, and what it must prove (secure naming, for each endpoint). */
export type ServiceEndpoint = {
  /** An IP address, or a DNS name where the service is resolved by the proxy. */
  readonly address: string;
  /** The same server's, of the other family: tried where the first does not answer. */
  readonly secondAddress?: string;
  readonly port: number;
} & (
  | {
      /** The endpoint is spoken to by the mesh's mutual TLS, and must prove this SPIFFE ID, or one of the aliases. */
      readonly mtls: true;
      readonly identity: string;
      /** The same account by other names of the trust domain, and what the configuration names for the service (SN-4). */
      readonly aliases?: readonly string[];
    }
  | {
      /** Plaintext, or the service's own `tls`. Who is meant to be there, if that is known; it proves nothing. */
      readonly mtls: false;
      readonly identity?: string;
    }
);

/** TLS that is not the mesh's: to servers outside, or to applications that have certificates of their own. */
export interface TlsOrigination {
  readonly sni: string;
  /** What the server's certificate must lead to and hold; `nothing` where the configuration says that nobody checks it. */
  readonly verify:
    | "nothing"
    | {
        /** At least one; one of them is enough. */
        readonly names: readonly ServerName[];
        /** A PEM file on the proxy's machine; without it, the roots that the machine trusts. */
        readonly roots?: string;
        readonly crl?: string;
      };
  /** What the client shows, from files on the proxy's machine. */
  readonly certificate?: ClientCertificateFiles;
}

/** A service's port, as a client reaches it. */
export interface UpstreamService {
  /** `NAMESPACE/NAME`, or `NAMESPACE/HOST` of a ServiceEntry. */
  readonly service: string;
  /** `NAME.NAMESPACE.svc.cluster.local`, or the host of a ServiceEntry. */
  readonly host: string;
  /** The service's port. */
  readonly port: number;
  /** The port's name in its Service; for Kubernetes' service variables. */
  readonly portName?: string;
  readonly protocol: Protocol;
  /** `outbound_.PORT_._.HOST`, Istio's server name, for the mesh's TLS. */
  readonly sni: string;
  /** With it, every endpoint is spoken to by this TLS, and none is `mtls`. */
  readonly tls?: TlsOrigination;
  /** The proxy resolves DNS names among the addresses: to all that they stand for, or to the first (one endpoint). */
  readonly resolution?: "DNS" | "DNS_ROUND_ROBIN";
  readonly endpoints: readonly ServiceEndpoint[];
}

/** Where the proxy accepts connections of its own application. */
export interface OutboundListener {
  readonly name: string;
  readonly bind: Endpoint;
  readonly protocol: Protocol;
  /** At least one. With one, everything goes there; with several (HTTP only), the Host header chooses. */
  readonly services: readonly UpstreamService[];
}

// === Captured traffic ===

/** A service's port as captured traffic tells it. */
export interface CapturedService {
  /** IP addresses and CIDR blocks; none: HTTP is told by the Host header, and TLS by the server name. */
  readonly addresses: readonly string[];
  readonly upstream: UpstreamService;
}

/** How a workload is spoken to that is called by its own address: opaque bytes, whatever they are. */
export type PeerTransport =
  | {
      readonly kind: "mtls";
      /** SPIFFE IDs, of which it must prove one: one account by all names of the trust domain. */
      readonly identities: readonly string[];
    }
  | { readonly kind: "plaintext" }
  /** Nothing says which of several it must be: no byte is sent. */
  | { readonly kind: "nobody" };

/** Addresses that are spoken to in one way. */
export interface CapturedPeers {
  /** Undefined: every port that no other entry names together with the address. */
  readonly port?: number;
  readonly addresses: readonly string[];
  readonly transport: PeerTransport;
}

export interface CapturePolicy {
  /** What becomes of a destination that nothing describes. Never is it spoken to by mutual TLS. */
  readonly unknown: OutboundTrafficPolicy;
  readonly services: readonly CapturedService[];
  readonly peers: readonly CapturedPeers[];
  /** How ports are entered that no inbound listener has. */
  readonly otherPorts: {
    readonly mtls: EffectiveMtls;
    /** Those with a mode of their own. */
    readonly ports: readonly { readonly port: number; readonly mtls: EffectiveMtls }[];
  };
}

// === The whole ===

/** What a workload has that a Gateway selects, in place of inbound and outbound listeners. */
export interface GatewayPolicy {
  readonly listeners: readonly GatewayListener[];
  /** What routes lead to, each port once; routes name them `HOST:PORT`. */
  readonly services: readonly UpstreamService[];
  /** Servers that wait for a Secret; absent where none does. */
  readonly closed?: readonly ClosedServer[];
}

/** A rule for tokens: every field in force, defaults filled in. Without keys, no token of it is accepted. */
export interface CompiledJwtRule extends JwtRuleFields {
  readonly keys: readonly PublicJwk[];
  /** Its keys are fetched, and whoever compiled this fetches none: only of a folder that is asked with nothing running. */
  readonly keysUnknown?: true;
}

export interface WorkloadPolicy {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  readonly address: string;
  /** Of the other family of addresses; absent for a workload that is of one. */
  readonly secondAddress?: string;
  /** The workload's own SPIFFE ID. */
  readonly identity: string;
  /** The mesh's own, then its aliases, then those that it federates with. Peers of other trust domains are refused in the handshake (XD-4). */
  readonly trustDomains: readonly string[];
  /** Of these, the others' own: what they revoke is not known here. Absent where there is none. */
  readonly foreignTrustDomains?: readonly string[];
  /** What becomes of the paths of peers; absent is BASE. */
  readonly pathNormalization?: PathNormalization;
  /** The client's address is the one so far from the end of X-Forwarded-For; absent is 0, the connection's own. */
  readonly numTrustedProxies?: number;
  /** Denied clients are told the rule, in the header `x-garrison-denied-by`; absent where they are not. */
  readonly tellsDenials?: true;
  /** Of mutual TLS, in both directions; absent is `DEFAULT_MESH_TLS`. */
  readonly tls?: MeshTls;
  readonly inbound: readonly InboundListener[];
  readonly outbound: readonly OutboundListener[];
  /** Where all traffic is redirected to the proxy: its listeners are then told by where a connection was going. Absent for others. */
  readonly capture?: CapturePolicy;
  /** Absent for all but gateways. */
  readonly gateway?: GatewayPolicy;
  /** Rules for the tokens of requests, by issuer; absent where there is none. They are asked before `http`. */
  readonly requestAuthentication?: readonly CompiledJwtRule[];
  /** SHA-256 of the DER of each revoked certificate, in hex: whoever proves itself by one is denied, and none is called. Absent where there is none. */
  readonly revoked?: readonly string[];
  /** When a certificate was revoked last; another time is another peer whose open connections are to end. Absent where none ever was. */
  readonly lastRevocation?: number;
  /** By name; absent where no rule asks any. */
  readonly authorizers?: readonly Authorizer[];
  readonly http: AuthorizationLayers;
  readonly tcp: AuthorizationLayers;
}

/** What of it is about those who call the workload: all that a policy's warnings look at, and nothing of whom it calls itself. */
export interface ServerSide extends Omit<WorkloadPolicy, "outbound" | "capture"> {
  /** It is met at every port. */
  readonly captured: boolean;
}

/** The layer of an action. */
export const LAYER_OF_ACTION = { CUSTOM: "custom", AUDIT: "audit", DENY: "deny", ALLOW: "allow" } as const satisfies Record<
  PolicyAction,
  keyof AuthorizationLayers
>;
