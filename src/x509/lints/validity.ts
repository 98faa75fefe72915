import type { Lint } from "./lint.ts";

/** What is issued outlives nothing that it depends on. */
export const validity: Lint = {
  name: "validity",
  source: "RFC 5280 §4.1.2.5, §6.1.3",
  check: ({ notBefore, notAfter }, { issuerValidUntil }) => {
    if (notBefore >= notAfter) return "it ends before it begins";
    return notAfter > issuerValidUntil ? "it outlives its issuer" : undefined;
  },
};
