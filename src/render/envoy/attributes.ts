/**
 * The Envoy half of the table of attributes (`policy/attributes.ts`): how one value of each is matched by Envoy's RBAC
 * engine, HTTP and network alike. Without its row here an attribute does not build.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { AppError } from "../../core/error.ts";
import type { PermissionSchema, PrincipalSchema } from "../../gen/envoy/config/rbac/v3/rbac_pb.js";
import type { HeaderMatcherSchema } from "../../gen/envoy/config/route/v3/route_components_pb.js";
import type { ValueMatcherSchema } from "../../gen/envoy/type/matcher/v3/value_pb.js";
import type { AttributeKey } from "../../policy/attributes.ts";
import type { IpBlock } from "../../policy/ip-block.ts";
import type { StringMatch, ValueMatch } from "../../policy/pattern.ts";
import { claimPath, splitRequestPrincipal } from "../../policy/requester.ts";
import { AUTHN_FILTER, PAYLOAD_KEY } from "./names.ts";
import {
  ANYTHING,
  headerMatcher,
  quoteRegex,
  regexMatcher,
  regexPart,
  type StringMatcherInit,
  stringMatcher,
  templateRegex,
} from "./string-matcher.ts";

export type PermissionInit = MessageInitShape<typeof PermissionSchema>;
export type PrincipalInit = MessageInitShape<typeof PrincipalSchema>;
type ValueMatcherInit = MessageInitShape<typeof ValueMatcherSchema>;

/** Envoy asks of who calls in principals and of what is called in permissions; no attribute is on both sides. */
export type EnvoyAttribute =
  | { readonly side: "principal"; readonly match: (value: ValueMatch, argument: string) => PrincipalInit }
  | { readonly side: "permission"; readonly match: (value: ValueMatch, argument: string) => PermissionInit };

/** Decoding yields only the kinds of an attribute's grammar; another one here is our defect, and closed. */
function unexpected(value: ValueMatch): AppError {
  return new AppError("internal", `a value of kind \`${value.kind}\` has no matcher for this attribute`);
}

function asString(value: ValueMatch): StringMatch {
  if (value.kind === "exact" || value.kind === "prefix" || value.kind === "suffix" || value.kind === "present") return value;
  throw unexpected(value);
}

// === The peer's identity: the URI of its certificate ===

const SCHEME = "spiffe://";
/** The characters of a trust domain (SPIFFE-ID §2.1) and of a Kubernetes name, as `identity/` parses them. */
const TRUST_DOMAIN = "[a-z0-9._-]";
const NAME = "[a-z0-9.-]";

/** No text matches it. */
const NOTHING = "$^";

/** A part of a URI that is a name: a value that no name can have matches none, and never reaches into what stands beside the name. */
function namePart(match: StringMatch, characters: string): string {
  const isPossible = match.kind === "present" || new RegExp(`^${characters}*$`).test(match.value);
  return isPossible ? regexPart(match, characters) : NOTHING;
}

function authenticated(principalName: StringMatcherInit): PrincipalInit {
  return { identifier: { case: "authenticated", value: { principalName } } };
}

/** The text after `spiffe://`; a suffix may not reach back into the scheme. */
function principal(match: StringMatch): PrincipalInit {
  switch (match.kind) {
    case "exact":
      return authenticated(stringMatcher({ kind: "exact", value: SCHEME + match.value }));
    case "prefix":
      return authenticated(stringMatcher({ kind: "prefix", value: SCHEME + match.value }));
    case "suffix":
      return authenticated(regexMatcher(`${SCHEME}${ANYTHING}${quoteRegex(match.value)}`));
    case "present":
      return authenticated(stringMatcher({ kind: "prefix", value: SCHEME }));
  }
}

/** The five-segment form, whole: stricter than Istio, whose expressions find `/ns/NAMESPACE/` anywhere in a URI. */
function identity(parts: { readonly namespace?: string; readonly serviceAccount?: string }): PrincipalInit {
  const { namespace = `${NAME}+`, serviceAccount = `${NAME}+` } = parts;
  return authenticated(regexMatcher(`${SCHEME}${TRUST_DOMAIN}+/ns/${namespace}/sa/${serviceAccount}`));
}

/** Whatever the path: workloads of a domain that is federated with are of it by any name. */
function ofTrustDomain(trustDomain: string): PrincipalInit {
  return authenticated(regexMatcher(`${SCHEME}${trustDomain}/${ANYTHING}`));
}

function serviceAccount(value: ValueMatch): PrincipalInit {
  if (value.kind !== "service-account") throw unexpected(value);
  return identity({ namespace: quoteRegex(value.namespace), serviceAccount: quoteRegex(value.name) });
}

// === Addresses and ports ===

function formatAddress({ family, bytes }: IpBlock): string {
  if (family === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, index) => ((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0));
  return groups.map((group) => group.toString(16)).join(":");
}

function cidr(value: ValueMatch): { readonly addressPrefix: string; readonly prefixLen: number } {
  if (value.kind !== "ip") throw unexpected(value);
  return { addressPrefix: formatAddress(value.block), prefixLen: value.block.prefix };
}

/** Proxies write IPv4 clients of a socket that takes both families as `::ffff:192.0.2.1`, which Envoy takes for another address. */
function remoteIp(value: ValueMatch): PrincipalInit {
  const { addressPrefix, prefixLen } = cidr(value);
  const inBlock = (range: { readonly addressPrefix: string; readonly prefixLen: number }): PrincipalInit => ({
    identifier: { case: "remoteIp", value: range },
  });
  if (addressPrefix.includes(":")) return inBlock({ addressPrefix, prefixLen });
  const ids = [inBlock({ addressPrefix, prefixLen }), inBlock({ addressPrefix: `::ffff:${addressPrefix}`, prefixLen: 96 + prefixLen })];
  return { identifier: { case: "orIds", value: { ids } } };
}

function destinationPort(value: ValueMatch): PermissionInit {
  if (value.kind !== "port") throw unexpected(value);
  return { rule: { case: "destinationPort", value: value.port } };
}

// === The request ===

function header(name: string, value: StringMatcherInit): PermissionInit {
  const matcher: MessageInitShape<typeof HeaderMatcherSchema> = { name, headerMatchSpecifier: { case: "stringMatch", value } };
  return { rule: { case: "header", value: matcher } };
}

function path(value: ValueMatch): PermissionInit {
  const matcher = value.kind === "template" ? regexMatcher(templateRegex(value.segments)) : stringMatcher(asString(value));
  return { rule: { case: "urlPath", value: { rule: { case: "path", value: matcher } } } };
}

// === The requester: the payload that the token filter has verified ===

function payload(path: readonly string[], match: StringMatch, orInList: boolean): PrincipalInit {
  const text: ValueMatcherInit = { matchPattern: { case: "stringMatch", value: stringMatcher(match) } };
  const listed: ValueMatcherInit = { matchPattern: { case: "listMatch", value: { matchPattern: { case: "oneOf", value: text } } } };
  const value: ValueMatcherInit = orInList ? { matchPattern: { case: "orMatch", value: { valueMatchers: [text, listed] } } } : text;
  const keys = [PAYLOAD_KEY, ...path].map((key) => ({ segment: { case: "key", value: key } }) as const);
  return { identifier: { case: "metadata", value: { filter: AUTHN_FILTER, path: keys, value } } };
}

function requestPrincipal(match: StringMatch): PrincipalInit {
  const { issuer, subject } = splitRequestPrincipal(match);
  return { identifier: { case: "andIds", value: { ids: [payload(["iss"], issuer, false), payload(["sub"], subject, false)] } } };
}

export const ENVOY_ATTRIBUTES = {
  principal: { side: "principal", match: (value) => principal(asString(value)) },
  namespace: { side: "principal", match: (value) => identity({ namespace: namePart(asString(value), NAME) }) },
  serviceAccount: { side: "principal", match: serviceAccount },
  trustDomain: { side: "principal", match: (value) => ofTrustDomain(namePart(asString(value), TRUST_DOMAIN)) },
  sourceIp: { side: "principal", match: (value) => ({ identifier: { case: "directRemoteIp", value: cidr(value) } }) },
  remoteIp: { side: "principal", match: remoteIp },
  host: { side: "permission", match: (value) => header(":authority", stringMatcher(asString(value), true)) },
  method: { side: "permission", match: (value) => header(":method", stringMatcher(asString(value))) },
  path: { side: "permission", match: path },
  destinationPort: { side: "permission", match: destinationPort },
  destinationIp: { side: "permission", match: (value) => ({ rule: { case: "destinationIp", value: cidr(value) } }) },
  // Envoy has it in lower case (RFC 6066 §3), and a DENY that is written otherwise must match all the same.
  sni: { side: "permission", match: (value) => ({ rule: { case: "requestedServerName", value: stringMatcher(asString(value), true) } }) },
  header: { side: "permission", match: (value, argument) => header(argument.toLowerCase(), headerMatcher(asString(value))) },
  requestPrincipal: { side: "principal", match: (value) => requestPrincipal(asString(value)) },
  audience: { side: "principal", match: (value) => payload(["aud"], asString(value), true) },
  presenter: { side: "principal", match: (value) => payload(["azp"], asString(value), true) },
  claim: { side: "principal", match: (value, argument) => payload(claimPath(argument), asString(value), true) },
} as const satisfies Record<AttributeKey, EnvoyAttribute>;
