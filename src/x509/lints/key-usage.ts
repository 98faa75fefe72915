import { OID } from "../oids.ts";
import { keyKindOf } from "../public-key.ts";
import type { Lint } from "./lint.ts";

/** digitalSignature for all, keyEncipherment for RSA, and nothing else. */
export const keyUsage: Lint = {
  name: "key-usage",
  source: "SPIFFE X509-SVID §4.3, RFC 5280 §4.2.1.3",
  check: (leaf) => {
    if (!leaf.critical.includes(OID.keyUsage.hex)) return "its key usage is missing or not critical";
    return leaf.keyUsage === keyKindOf(leaf.spki).leafUsage ? undefined : "its key usage is not the one of its kind of key";
  },
};
