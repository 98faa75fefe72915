/** A CA for one proof: its key is made for it, signs whatever identity a question has, and goes with the process. */
import { generateKeyPairSync } from "node:crypto";
import type { IssuedCertificate } from "../agent/issued-certificate.ts";
import type { TlsMaterial } from "../rpc/credentials.ts";
import { generateKey, spkiOf } from "../x509/csr-builder.ts";
import { Issuer, makeRoot } from "../x509/issuer.ts";
import { formatPem } from "../x509/pem.ts";
import { Profile } from "../x509/profile.ts";

const BACKDATE_SECONDS = 120;
const PROFILE = Profile.from({ defaultTtlSeconds: 86_400, maxTtlSeconds: 86_400, backdateSeconds: BACKDATE_SECONDS, dnsNames: "refused" });

export class ProvingAuthority {
  readonly #issuer: Issuer;
  readonly #now = Date.now();
  readonly #issued = new Map<string, IssuedCertificate>();

  constructor() {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const root = makeRoot(privateKey, { organization: "garrison proof", now: this.#now, backdateSeconds: BACKDATE_SECONDS });
    this.#issuer = new Issuer(root, privateKey);
  }

  /** A key with its certificate for a SPIFFE ID; the same at each call. */
  certificate(identity: string): IssuedCertificate {
    const known = this.#issued.get(identity);
    if (known !== undefined) return known;
    const privateKey = generateKey();
    const prepared = this.#issuer.prepare(PROFILE, {
      spki: spkiOf(privateKey),
      uri: identity,
      dnsNames: [],
      ttlSeconds: 0,
      now: this.#now,
    });
    const chain = formatPem("CERTIFICATE", this.#issuer.sign(prepared).der);
    const issued = { privateKey, chain, roots: formatPem("CERTIFICATE", this.#issuer.certificate.der), identity, ...prepared };
    this.#issued.set(identity, issued);
    return issued;
  }

  /** The same for a TLS server or client. */
  material(identity: string): TlsMaterial {
    const { privateKey, chain, roots } = this.certificate(identity);
    return { key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(), chain, roots };
  }
}
