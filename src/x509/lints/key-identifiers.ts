import { hexOf } from "../hex.ts";
import { keyIdentifier } from "../public-key.ts";
import type { Lint } from "./lint.ts";

export const keyIdentifiers: Lint = {
  name: "key-identifiers",
  source: "RFC 5280 §4.2.1.1, §4.2.1.2",
  check: ({ subjectKeyId, authorityKeyId, spki }, { issuer }) => {
    if (subjectKeyId !== hexOf(keyIdentifier(spki))) return "its subject key identifier is not that of its key";
    return authorityKeyId === (issuer.subjectKeyId ?? hexOf(keyIdentifier(issuer.spki)))
      ? undefined
      : "its authority key identifier is not its issuer's";
  },
};
