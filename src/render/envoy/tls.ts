/** Mutual TLS in both directions: certificates and roots by SDS from the agent, names checked here. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { AppError } from "../../core/error.ts";
import { type TransportSocket, TransportSocketSchema } from "../../gen/envoy/config/core/v3/base_pb.js";
import {
  SubjectAltNameMatcher_SanType,
  type SubjectAltNameMatcherSchema,
  TlsParameters_TlsProtocol,
} from "../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import {
  type CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import type { Protocol } from "../../policy/model.ts";
import { namedConfig } from "./any.ts";
import { agentSecret } from "./config-source.ts";
import { IDENTITY_SECRET, ROOTS_SECRET } from "./names.ts";
import { type StringMatcherInit, stringMatcher } from "./string-matcher.ts";

/** What a sidecar offers in a mesh handshake, so that a PERMISSIVE port tells mesh traffic from the application's own TLS (XD-2). */
export const MESH_ALPN = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"] as const;

/** What a client offers: the mesh's names first, then one that the server's HTTP codec can choose (Envoy lacks Istio's ALPN filter). */
const CLIENT_ALPN = {
  http: ["istio-http/1.1", "istio", "http/1.1"],
  http2: ["istio-h2", "istio", "h2"],
  tcp: ["istio"],
} as const satisfies Record<Protocol, readonly string[]>;

const SERVER_ALPN = ["h2", "http/1.1"];

/** AEAD with forward secrecy only; TLS 1.3's own suites are all of that kind. */
const CIPHER_SUITES = [
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
];

/** Of every connection, by whosever certificates. */
export const TLS_PARAMETERS = {
  tlsMinimumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_2,
  tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
  cipherSuites: CIPHER_SUITES,
};

function uri(matcher: StringMatcherInit): MessageInitShape<typeof SubjectAltNameMatcherSchema> {
  return { sanType: SubjectAltNameMatcher_SanType.URI, matcher };
}

/** The workload's own certificate, the mesh's roots, and the names that a peer may have. */
function commonContext(alpn: readonly string[], peers: readonly StringMatcherInit[]): MessageInitShape<typeof CommonTlsContextSchema> {
  return {
    tlsParams: TLS_PARAMETERS,
    alpnProtocols: [...alpn],
    tlsCertificateSdsSecretConfigs: [agentSecret(IDENTITY_SECRET)],
    validationContextType: {
      case: "combinedValidationContext",
      value: {
        defaultValidationContext: { matchTypedSubjectAltNames: peers.map(uri) },
        validationContextSdsSecretConfig: agentSecret(ROOTS_SECRET),
      },
    },
  };
}

/**
 * The server's side (XD-3, XD-4): a client certificate of one of the trust domains, or no connection. Sessions are not
 * resumed, because a resumed one is not verified again: not its expiry, nor roots that are gone (CVE-2022-21654).
 */
export function serverTls(trustDomains: readonly string[], protocol: Protocol): TransportSocket {
  // No name to match would match every name.
  if (trustDomains.length === 0) throw new AppError("internal", "an inbound listener has no trust domain to accept");
  const peers = trustDomains.map((domain) => stringMatcher({ kind: "prefix", value: `spiffe://${domain}/` }));
  const tls = namedConfig("envoy.transport_sockets.tls", DownstreamTlsContextSchema, {
    commonTlsContext: commonContext(protocol === "tcp" ? [] : SERVER_ALPN, peers),
    requireClientCertificate: true,
    sessionTicketKeysType: { case: "disableStatelessSessionResumption", value: true },
    disableStatefulSessionResumption: true,
  });
  return create(TransportSocketSchema, tls);
}

/** An identity that no certificate can hold (`#` is in no SPIFFE ID). */
export const NOBODY = "spiffe://nobody#";

/** The client's side (SN-3, SN-4): the server must be one of just these identities. */
export function clientTls(identities: readonly string[], sni: string, protocol: Protocol): TransportSocket {
  const tls = namedConfig("envoy.transport_sockets.tls", UpstreamTlsContextSchema, {
    commonTlsContext: commonContext(
      CLIENT_ALPN[protocol],
      // No name to match would match every name.
      (identities.length === 0 ? [NOBODY] : identities).map((value) => stringMatcher({ kind: "exact", value })),
    ),
    sni,
    maxSessionKeys: 0,
  });
  return create(TransportSocketSchema, tls);
}
