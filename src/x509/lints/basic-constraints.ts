import { OID } from "../oids.ts";
import type { Lint } from "./lint.ts";

export const basicConstraints: Lint = {
  name: "basic-constraints",
  source: "SPIFFE X509-SVID §4.1, RFC 5280 §4.2.1.9",
  check: ({ isCa, pathLength, critical }) => {
    if (isCa || pathLength !== undefined) return "it is a CA's";
    return critical.includes(OID.basicConstraints.hex) ? undefined : "its basic constraints are missing or not critical";
  },
};
