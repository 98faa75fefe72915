/** Rules that a leaf must keep to, looked at before it is signed: each in a file of its own, with the section that asks for it. */
import type { Certificate } from "../certificate.ts";

export interface LintContext {
  /** The CA's own certificate. */
  readonly issuer: Certificate;
  /** Milliseconds: the first end of a life on the issuer's path. */
  readonly issuerValidUntil: number;
}

export interface Lint {
  /** In kebab case, as its file. */
  readonly name: string;
  /** RFC 5280 or SPIFFE X509-SVID, with the section. */
  readonly source: string;
  /** What is wrong with `leaf`; undefined when nothing is. */
  readonly check: (leaf: Certificate, context: LintContext) => string | undefined;
}
