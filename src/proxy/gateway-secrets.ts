/** The certificates of a gateway's servers, as they come beside its policy. */
import { createHash } from "node:crypto";
import { SecretText } from "../core/secret-text.ts";
import type { GatewaySecret } from "../gen/garrison/v1/proxy_pb.js";

/** By the names that listeners use; all PEM. */
export interface GatewaySecrets {
  readonly certificates: ReadonlyMap<string, { readonly chain: string; readonly key: SecretText }>;
  readonly authorities: ReadonlyMap<string, { readonly ca: string; readonly crl: string | undefined }>;
  /** Equal ones are the same secrets. */
  readonly digest: string;
}

function utf8(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

/** From the message of the control plane. */
export function readGatewaySecrets(secrets: readonly GatewaySecret[]): GatewaySecrets {
  const digest = createHash("sha256");
  const certificates = new Map<string, { readonly chain: string; readonly key: SecretText }>();
  const authorities = new Map<string, { readonly ca: string; readonly crl: string | undefined }>();
  for (const { name, chain, key, ca, crl } of secrets) {
    digest.update(JSON.stringify([name, ...[chain, key, ca, crl].map(utf8)]));
    if (key.length > 0) certificates.set(name, { chain: utf8(chain), key: new SecretText(utf8(key)) });
    if (ca.length > 0) authorities.set(name, { ca: utf8(ca), crl: crl.length === 0 ? undefined : utf8(crl) });
  }
  return { certificates, authorities, digest: digest.digest("hex") };
}

export const NO_SECRETS: GatewaySecrets = readGatewaySecrets([]);
