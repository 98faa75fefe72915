import { KEY_USAGE } from "../extensions.ts";
import { OID } from "../oids.ts";
import type { Lint } from "./lint.ts";

const { digitalSignature, keyEncipherment, keyAgreement } = KEY_USAGE;
const ALLOWED = digitalSignature | keyEncipherment | keyAgreement;

/** digitalSignature, and besides it nothing but what an SVID may have: istiod writes keyEncipherment for keys of every kind. */
export const foreignKeyUsage: Lint = {
  name: "foreign-key-usage",
  source: "SPIFFE X509-SVID §4.3, RFC 5280 §4.2.1.3",
  check: ({ critical, keyUsage = 0 }) => {
    if (!critical.includes(OID.keyUsage.hex)) return "its key usage is missing or not critical";
    return (keyUsage & digitalSignature) !== 0 && (keyUsage & ~ALLOWED) === 0 ? undefined : "its key usage is not one of a leaf SVID";
  },
};
