/** TLS that is not the mesh's, to servers that have certificates of their own (SN-7). */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { TlsOrigination } from "../../compile/workload-policy.ts";
import { type TransportSocket, TransportSocketSchema } from "../../gen/envoy/config/core/v3/base_pb.js";
import {
  SubjectAltNameMatcher_SanType,
  type SubjectAltNameMatcherSchema,
} from "../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import { type CommonTlsContextSchema, UpstreamTlsContextSchema } from "../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { DEFAULT_MESH_TLS } from "../../policy/mesh-config.ts";
import type { Protocol, ServerName } from "../../policy/model.ts";
import { namedConfig } from "./any.ts";
import { agentSecret } from "./config-source.ts";
import { SYSTEM_ROOTS_SECRET } from "./names.ts";
import { stringMatcher } from "./string-matcher.ts";
import { tlsParameters } from "./tls.ts";

/** What a server outside knows to choose from; over TCP the application's protocol is its own. */
const ALPN = { http: ["http/1.1"], http2: ["h2"], tcp: [] } as const satisfies Record<Protocol, readonly string[]>;

const SAN_TYPES = {
  dns: SubjectAltNameMatcher_SanType.DNS,
  ip: SubjectAltNameMatcher_SanType.IP_ADDRESS,
  uri: SubjectAltNameMatcher_SanType.URI,
} as const satisfies Record<ServerName["kind"], SubjectAltNameMatcher_SanType>;

type Validation = MessageInitShape<typeof CommonTlsContextSchema>["validationContextType"];

function matcherOf({ kind, value }: ServerName): MessageInitShape<typeof SubjectAltNameMatcherSchema> {
  // DNS names are the same in any case; a certificate's wildcard is matched by Envoy where the type is DNS.
  return { sanType: SAN_TYPES[kind], matcher: stringMatcher({ kind: "exact", value }) };
}

const fileOf = (filename: string) => ({ specifier: { case: "filename", value: filename } }) as const;

/** With roots of a file, or those of the machine, which its agent serves. */
function validationOf(verify: TlsOrigination["verify"]): { readonly validationContextType?: NonNullable<Validation> } {
  if (verify === "nothing") return {};
  const crl = verify.crl === undefined ? {} : { crl: fileOf(verify.crl) };
  const names = { matchTypedSubjectAltNames: verify.names.map(matcherOf), ...crl };
  if (verify.roots !== undefined)
    return { validationContextType: { case: "validationContext", value: { ...names, trustedCa: fileOf(verify.roots) } } };
  const value = { defaultValidationContext: names, validationContextSdsSecretConfig: agentSecret(SYSTEM_ROOTS_SECRET) };
  return { validationContextType: { case: "combinedValidationContext", value } };
}

function commonContext({ verify, certificate }: TlsOrigination, protocol: Protocol): MessageInitShape<typeof CommonTlsContextSchema> {
  const pair = certificate && { certificateChain: fileOf(certificate.clientCertificate), privateKey: fileOf(certificate.privateKey) };
  return {
    tlsParams: tlsParameters(DEFAULT_MESH_TLS),
    alpnProtocols: [...ALPN[protocol]],
    tlsCertificates: pair === undefined ? [] : [pair],
    ...validationOf(verify),
  };
}

/** The transport socket of such a service. No session is resumed, as a resumed one is not verified again. */
export function originationTls(tls: TlsOrigination, protocol: Protocol): TransportSocket {
  const context = { commonTlsContext: commonContext(tls, protocol), sni: tls.sni, maxSessionKeys: 0 };
  return create(TransportSocketSchema, namedConfig("envoy.transport_sockets.tls", UpstreamTlsContextSchema, context));
}
