/** A gateway's certificates as Envoy's secrets (SDS): each server's chain and key, and the CAs of its clients. */
import { create } from "@bufbuild/protobuf";
import type { GatewaySecret } from "../../compile/gateway-secrets.ts";
import { type Secret, SecretSchema } from "../../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";

function inline(text: string) {
  return { specifier: { case: "inlineString", value: text } } as const;
}

/**
 * With a revocation list, every CA of a chain must have one (RFC 5280 §6.3): a chain of which only the leaf is looked up
 * would not tell a revoked intermediate.
 */
export function envoySecret(secret: GatewaySecret): Secret {
  const { name } = secret;
  if (secret.kind === "certificate") {
    const value = { certificateChain: inline(secret.chain), privateKey: inline(secret.key.reveal()) };
    return create(SecretSchema, { name, type: { case: "tlsCertificate", value } });
  }
  const { ca, crl } = secret;
  const value = { trustedCa: inline(ca), ...(crl === undefined ? {} : { crl: inline(crl) }) };
  return create(SecretSchema, { name, type: { case: "validationContext", value } });
}
