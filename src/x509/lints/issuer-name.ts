import type { Lint } from "./lint.ts";

export const issuerName: Lint = {
  name: "issuer-name",
  source: "RFC 5280 §4.1.2.4",
  check: (leaf, { issuer }) =>
    Buffer.compare(leaf.issuer, issuer.subject) === 0 ? undefined : "its issuer's name is not the subject of the CA's certificate",
};
