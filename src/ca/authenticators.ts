/** How a caller of the certificate service proves who it is. */
import type { ServerUnaryCall } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError, type ErrorCode } from "../core/error.ts";
import type { SpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { peerCertificateOf } from "../rpc/peer-certificate.ts";
import type { TrustAnchors } from "./authority.ts";
import { holderOf } from "./client-certificate.ts";

/** What a call brings along. */
export interface CallerCredentials {
  /** DER of the client certificate that the handshake verified. */
  readonly certificate: Uint8Array | undefined;
  /** Every value of the metadata `authorization`. */
  readonly authorization: readonly string[];
  /** Every value of the metadata `clusterid`, which names the cluster that issued the token; it proves nothing. */
  readonly cluster?: readonly string[];
}

/** The pod that a service account token was made for, in the account's namespace. */
export interface BoundPod {
  readonly name: string;
  readonly uid: string;
  /** Of a cluster that writes it into its tokens. */
  readonly node?: string;
}

/** Istio's metadata in which an agent names its cluster. */
const CLUSTER_METADATA = "clusterid";

/** Who a caller is. */
export interface Proof {
  readonly identity: SpiffeId;
  /** Where its token is bound to one. */
  readonly pod?: BoundPod;
  /** What vouches for it, for the log and the ledger. */
  readonly by: string;
}

export interface Authenticator {
  /** For refusals. */
  readonly name: string;
  /** The proved identity; undefined when the call brings no such credential. Throws `unauthenticated` for one that does not hold. */
  authenticate(credentials: CallerCredentials): Promise<Proof | undefined>;
}

/** The audience that Istio's agents ask their tokens for. */
const AUDIENCE = "istio-ca";
const BEARER = /^bearer (\S+)$/i;

function refuse(message: string): AppError {
  return new AppError("unauthenticated", message);
}

function checkTrustDomain(identity: SpiffeId, trustDomain: TrustDomain): SpiffeId {
  if (identity.trustDomain !== trustDomain) throw refuse("the certificate is of another trust domain");
  return identity;
}

/**
 * A certificate that this CA issued. The handshake checked it when the connection began; it is checked again here for
 * each call, as connections live longer than certificates.
 */
export function clientCertificateAuthenticator(options: {
  readonly trustDomain: TrustDomain;
  readonly trust: () => TrustAnchors;
  readonly clock: Clock;
}): Authenticator {
  const name = "client certificate";
  return {
    name,
    async authenticate({ certificate }) {
      if (certificate === undefined) return undefined;
      const { identity } = holderOf(certificate, options.trust(), options.clock.now());
      return { identity: checkTrustDomain(identity, options.trustDomain), by: name };
    },
  };
}

/** Who can tell whose a service account token is: this control plane's own issuer, or a Kubernetes API server. */
export interface TokenVerifier {
  /**
   * `cluster`: whose token it is said to be. The answer's `cluster` is another one than the configuration's own that vouches for it. Throws
   * `unauthenticated`; `unavailable` where nobody can tell at the moment.
   */
  verify(
    token: string,
    expected: { readonly audience: string; readonly cluster?: string },
  ): Promise<{ readonly namespace: string; readonly name: string; readonly cluster?: string; readonly pod?: BoundPod }>;
}

/** `authorization: Bearer TOKEN` with a service account token for the audience `istio-ca`. */
export function tokenAuthenticator(options: { readonly trustDomain: TrustDomain; readonly tokens: TokenVerifier }): Authenticator {
  const by = "token";
  return {
    name: by,
    async authenticate({ authorization, cluster: clusters = [] }) {
      const [value, ...others] = authorization;
      if (value === undefined) return undefined;
      if (others.length > 0) throw refuse("there are several authorization headers");
      const token = BEARER.exec(value)?.[1];
      if (token === undefined) throw refuse("the authorization header is not `Bearer TOKEN`");
      const [named = "", ...more] = clusters;
      if (more.length > 0) throw refuse("several clusters are named");
      const from = named === "" ? {} : { cluster: named };
      const { namespace, name, cluster, pod } = await options.tokens.verify(token, { audience: AUDIENCE, ...from });
      const identity = { trustDomain: options.trustDomain, namespace, serviceAccount: name };
      // A pod's name says nothing in another cluster than its own, where one of that name may be on any node.
      if (cluster !== undefined) return { identity, by: `${by} of cluster ${cluster}` };
      return { identity, by, ...(pod === undefined ? {} : { pod }) };
    },
  };
}

/** Of an API server or an issuer that would have to be asked. */
const AWAY: ReadonlySet<ErrorCode> = new Set(["unavailable", "deadline-exceeded"]);

/**
 * Who calls: what the first authenticator that proves an identity says. Throws `unauthenticated` with every authenticator's reason: each is a fixed
 * phrase that helps its owner and nobody else (`TokenFlaw`, chain reasons). Where one cannot tell at the moment, nobody was refused: `unavailable`.
 */
export async function provenCaller(authenticators: readonly Authenticator[], credentials: CallerCredentials): Promise<Proof> {
  const reasons: string[] = [];
  let isAway = false;
  for (const { name, authenticate: attempt } of authenticators) {
    try {
      const proof = await attempt(credentials);
      if (proof !== undefined) return proof;
      reasons.push(`${name}: not presented`);
    } catch (thrown) {
      const error = AppError.from(thrown);
      isAway ||= AWAY.has(error.code);
      reasons.push(`${name}: ${error.message}`);
    }
  }
  throw new AppError(isAway ? "unavailable" : "unauthenticated", `request authenticate failure (${reasons.join("; ")})`);
}

/** What a call brings along. */
export function credentialsOf(call: Pick<ServerUnaryCall<unknown, unknown>, "getAuthContext" | "metadata">): CallerCredentials {
  const valuesOf = (name: string): readonly string[] => call.metadata.get(name).map((value) => value.toString());
  const certificate = peerCertificateOf(call)?.raw;
  return { certificate, authorization: valuesOf("authorization"), cluster: valuesOf(CLUSTER_METADATA) };
}
