/**
 * Peers whose certificate has two names. Envoy verifies it by the roots of the first one's trust domain, and lets rules match
 * any of them, DNS names and the subject too: the CA of one domain could give names of another. No SVID has two (SPIFFE
 * X509-SVID §2), and the embedded proxy refuses them in the handshake.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { PolicySchema } from "../../gen/envoy/config/rbac/v3/rbac_pb.js";
import type { PrincipalInit } from "./attributes.ts";
import { PERMISSIONS, PRINCIPALS } from "./rbac-logic.ts";
import { ANYTHING, quoteRegex, regexMatcher, type StringMatcherInit, stringMatcher } from "./string-matcher.ts";

const SCHEME = "spiffe://";

/** What ends before the prefix does, or differs from it at one of its characters; RE2 has no other word for "not". */
function notBeginningWith(prefix: string): string {
  return [...prefix].reduceRight((rest, character) => `(?:[^${character}]${ANYTHING}|${quoteRegex(character)}${rest})?`, "$^");
}

function named(principalName: StringMatcherInit): PrincipalInit {
  return { identifier: { case: "authenticated", value: { principalName } } };
}

/** Matches peers with a name in one of these domains and one outside of it. */
export function twoNamesPolicy(trustDomains: readonly string[]): MessageInitShape<typeof PolicySchema> {
  const principals = trustDomains.map((trustDomain) => {
    const own = named(stringMatcher({ kind: "prefix", value: `${SCHEME}${trustDomain}/` }));
    // Names of other kinds, such as the subject, are in no rule.
    const other = named(regexMatcher(SCHEME + notBeginningWith(`${trustDomain}/`)));
    return PRINCIPALS.all([own, other]);
  });
  return { permissions: [PERMISSIONS.all([])], principals: [PRINCIPALS.any(principals)] };
}
