/** TLS for clients that are not of the mesh: certificates from the control plane (SDS), never in the listener. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { OutsideSecurity } from "../../compile/gateway-policy.ts";
import { type TransportSocket, TransportSocketSchema } from "../../gen/envoy/config/core/v3/base_pb.js";
import {
  SubjectAltNameMatcher_SanType,
  type SubjectAltNameMatcherSchema,
  TlsParameters_TlsProtocol,
} from "../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import { type CommonTlsContextSchema, DownstreamTlsContextSchema } from "../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { TLS12_SUITES, type TlsVersion } from "../../policy/gateway.ts";
import { namedConfig } from "./any.ts";
import { servedSecret } from "./config-source.ts";
import { stringMatcher } from "./string-matcher.ts";

const VERSIONS = {
  "TLSv1.2": TlsParameters_TlsProtocol.TLSv1_2,
  "TLSv1.3": TlsParameters_TlsProtocol.TLSv1_3,
} as const satisfies Record<TlsVersion, TlsParameters_TlsProtocol>;

/** A name of any of the kinds that Istio compares. */
const SAN_TYPES = [
  SubjectAltNameMatcher_SanType.DNS,
  SubjectAltNameMatcher_SanType.URI,
  SubjectAltNameMatcher_SanType.IP_ADDRESS,
  SubjectAltNameMatcher_SanType.EMAIL,
] as const;

function anyKind(name: string): MessageInitShape<typeof SubjectAltNameMatcherSchema>[] {
  return SAN_TYPES.map((sanType) => ({ sanType, matcher: stringMatcher({ kind: "exact", value: name }) }));
}

type Validation = NonNullable<MessageInitShape<typeof CommonTlsContextSchema>["validationContextType"]>;

function validation(clients: NonNullable<OutsideSecurity["clients"]>): Validation {
  return {
    case: "combinedValidationContext",
    value: {
      defaultValidationContext: {
        matchTypedSubjectAltNames: clients.subjectAltNames.flatMap(anyKind),
        verifyCertificateHash: [...clients.certificateHashes],
        verifyCertificateSpki: [...clients.spkiHashes],
      },
      validationContextSdsSecretConfig: servedSecret(clients.ca),
    },
  };
}

/** The server's side. Sessions are not resumed, as in the mesh: a resumed one would keep a verdict on a client certificate. */
export function outsideTls({ certificate, clients, minVersion, maxVersion, cipherSuites }: OutsideSecurity): TransportSocket {
  const tls = namedConfig("envoy.transport_sockets.tls", DownstreamTlsContextSchema, {
    commonTlsContext: {
      tlsParams: {
        tlsMinimumProtocolVersion: VERSIONS[minVersion],
        tlsMaximumProtocolVersion: VERSIONS[maxVersion],
        cipherSuites: [...(cipherSuites.length === 0 ? TLS12_SUITES : cipherSuites)],
      },
      alpnProtocols: ["h2", "http/1.1"],
      tlsCertificateSdsSecretConfigs: [servedSecret(certificate)],
      ...(clients === undefined ? {} : { validationContextType: validation(clients) }),
    },
    requireClientCertificate: clients !== undefined && !clients.optional,
    sessionTicketKeysType: { case: "disableStatelessSessionResumption", value: true },
    disableStatefulSessionResumption: true,
  });
  return create(TransportSocketSchema, tls);
}
