/** A CA made anew, as the files in which an operator would bring one (CA-12). */
import type { TrustDomain } from "../identity/trust-domain.ts";
import { generateKey } from "../x509/csr-builder.ts";
import { makeRoot } from "../x509/issuer.ts";
import { formatPem } from "../x509/pem.ts";

/** A root that signs by itself: by Istio's names of files, all PEM. `now` in milliseconds. */
export function makeCaFiles(options: {
  readonly trustDomain: TrustDomain;
  readonly now: number;
  readonly backdateSeconds: number;
}): Readonly<Record<"ca-cert.pem" | "ca-key.pem" | "root-cert.pem", string>> {
  const { trustDomain: organization, now, backdateSeconds } = options;
  const key = generateKey();
  const root = formatPem("CERTIFICATE", makeRoot(key, { organization, now, backdateSeconds }).der);
  return { "ca-cert.pem": root, "ca-key.pem": key.export({ type: "pkcs8", format: "pem" }).toString(), "root-cert.pem": root };
}
