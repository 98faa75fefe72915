/** Mutual TLS in both directions: certificates and roots by SDS from the agent, names checked here. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { CLIENT_ALPN } from "../../compile/mesh-alpn.ts";
import type { WorkloadPolicy } from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import { keptWith } from "../../core/kept-with.ts";
import { type TransportSocket, TransportSocketSchema } from "../../gen/envoy/config/core/v3/base_pb.js";
import {
  SubjectAltNameMatcher_SanType,
  type SubjectAltNameMatcherSchema,
  TlsParameters_TlsProtocol,
  type TlsParametersSchema,
} from "../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import {
  type CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { DEFAULT_MESH_TLS, type MeshTls } from "../../policy/mesh-config.ts";
import type { Protocol } from "../../policy/model.ts";
import { namedConfig } from "./any.ts";
import { agentSecret } from "./config-source.ts";
import { IDENTITY_SECRET, ROOTS_SECRET, SERVER_ROOTS_SECRET } from "./names.ts";
import { type StringMatcherInit, stringMatcher } from "./string-matcher.ts";

const SERVER_ALPN = ["h2", "http/1.1"];

function uri(matcher: StringMatcherInit): MessageInitShape<typeof SubjectAltNameMatcherSchema> {
  return { sanType: SubjectAltNameMatcher_SanType.URI, matcher };
}

const VERSION = { "1.2": TlsParameters_TlsProtocol.TLSv1_2, "1.3": TlsParameters_TlsProtocol.TLSv1_3 } as const;

/** TLS 1.3's own suites are all AEAD with forward secrecy; of 1.2 only such are offered. */
export function tlsParameters({ minVersion, cipherSuites, ecdhCurves }: MeshTls): MessageInitShape<typeof TlsParametersSchema> {
  return {
    tlsMinimumProtocolVersion: VERSION[minVersion],
    tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
    cipherSuites: [...cipherSuites],
    ecdhCurves: [...ecdhCurves],
  };
}

interface ContextOptions {
  /** The secret of the roots. */
  readonly roots: string;
  readonly alpn: readonly string[];
  /** The names that a peer may have. */
  readonly peers: readonly StringMatcherInit[];
  readonly tls: MeshTls;
}

/** The workload's own certificate, the mesh's roots, and the names that a peer may have. */
function commonContext({ roots, alpn, peers, tls }: ContextOptions): MessageInitShape<typeof CommonTlsContextSchema> {
  return {
    tlsParams: tlsParameters(tls),
    alpnProtocols: [...alpn],
    tlsCertificateSdsSecretConfigs: [agentSecret(IDENTITY_SECRET)],
    validationContextType: {
      case: "combinedValidationContext",
      value: {
        defaultValidationContext: { matchTypedSubjectAltNames: peers.map(uri) },
        validationContextSdsSecretConfig: agentSecret(roots),
      },
    },
  };
}

/**
 * The server's side (XD-3, XD-4): a client certificate of one of the trust domains, or no connection. Sessions are not
 * resumed, because a resumed one is not verified again: not its expiry, nor roots that are gone (CVE-2022-21654).
 */
export function serverTls(trustDomains: readonly string[], protocol: Protocol, tls: MeshTls = DEFAULT_MESH_TLS): TransportSocket {
  return serverSocket({ protocol, tls }, trustDomains);
}

/** One for all whose settings are the same. */
const serverSocket = keptWith(
  ({ protocol, tls }: { readonly protocol: Protocol; readonly tls: MeshTls }, trustDomains: readonly string[]) => {
    // No name to match would match every name.
    if (trustDomains.length === 0) throw new AppError("internal", "an inbound listener has no trust domain to accept");
    const peers = trustDomains.map((domain) => stringMatcher({ kind: "prefix", value: `spiffe://${domain}/` }));
    const context = namedConfig("envoy.transport_sockets.tls", DownstreamTlsContextSchema, {
      commonTlsContext: commonContext({ roots: ROOTS_SECRET, alpn: protocol === "tcp" ? [] : SERVER_ALPN, peers, tls }),
      requireClientCertificate: true,
      sessionTicketKeysType: { case: "disableStatelessSessionResumption", value: true },
      disableStatefulSessionResumption: true,
    });
    return create(TransportSocketSchema, context);
  },
);

/** An identity that no certificate can hold (`#` is in no SPIFFE ID). */
export const NOBODY = "spiffe://nobody#";

/** What a client needs to know of a server. */
export interface ServerName {
  /** SPIFFE IDs: the server must be one of just these. */
  readonly identities: readonly string[];
  readonly sni: string;
  readonly protocol: Protocol;
}

/** Of a workload, what is the same for all the servers that it calls. */
export type ClientSettings = Pick<WorkloadPolicy, "tls" | "foreignTrustDomains">;

/**
 * Servers of the mesh's own trust domain are verified by its roots and by lists of those that are revoked. Roots that are bound to their trust domains, which
 * the others need, know no lists.
 */
function rootsFor(identities: readonly string[], foreign: readonly string[]): string {
  const isForeign = (identity: string): boolean => foreign.some((domain) => identity.startsWith(`spiffe://${domain}/`));
  return identities.some(isForeign) ? ROOTS_SECRET : SERVER_ROOTS_SECRET;
}

/** The client's side (SN-3, SN-4). */
export function clientTls({ identities, sni, protocol }: ServerName, settings: ClientSettings): TransportSocket {
  const { tls = DEFAULT_MESH_TLS, foreignTrustDomains = [] } = settings;
  // No name to match would match every name.
  if (identities.length === 0) throw new AppError("internal", "an endpoint has no identity to prove");
  const peers = identities.map((value) => stringMatcher({ kind: "exact", value }));
  const context = namedConfig("envoy.transport_sockets.tls", UpstreamTlsContextSchema, {
    commonTlsContext: commonContext({ roots: rootsFor(identities, foreignTrustDomains), alpn: CLIENT_ALPN[protocol], peers, tls }),
    sni,
    maxSessionKeys: 0,
  });
  return create(TransportSocketSchema, context);
}
