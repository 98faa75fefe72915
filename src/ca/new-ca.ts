/** A CA made anew, as the files in which an operator would bring one (CA-12). */
import type { TrustDomain } from "../identity/trust-domain.ts";
import { makeRoot } from "../x509/issuer.ts";
import { DEFAULT_KEY_SPEC, type KeySpec, makeKey } from "../x509/key-spec.ts";
import { formatPem } from "../x509/pem.ts";

/** A root that signs by itself: by Istio's names of files, all PEM. `now` in milliseconds. */
export function makeCaFiles(options: {
  readonly trustDomain: TrustDomain;
  readonly now: number;
  readonly backdateSeconds: number;
  /** P-256 without. */
  readonly keySpec?: KeySpec | undefined;
}): Readonly<Record<"ca-cert.pem" | "ca-key.pem" | "root-cert.pem", string>> {
  const { trustDomain: organization, now, backdateSeconds, keySpec = DEFAULT_KEY_SPEC } = options;
  const key = makeKey(keySpec);
  const root = formatPem("CERTIFICATE", makeRoot(key, { organization, now, backdateSeconds }).der);
  return { "ca-cert.pem": root, "ca-key.pem": key.export({ type: "pkcs8", format: "pem" }).toString(), "root-cert.pem": root };
}
