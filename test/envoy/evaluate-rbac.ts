/**
 * Envoy's RBAC matchers, evaluated as their documentation says, so that what is rendered can be asked thousands of
 * questions without a process. A real Envoy is asked the important ones again in `attributes.test.ts`.
 */
import type { MessageShape } from "@bufbuild/protobuf";
import type { CidrRange } from "../../src/gen/envoy/config/core/v3/address_pb.js";
import type { Permission, Policy, Principal, RBAC } from "../../src/gen/envoy/config/rbac/v3/rbac_pb.js";
import type { HeaderMatcherSchema } from "../../src/gen/envoy/config/route/v3/route_components_pb.js";
import type { StringMatcher } from "../../src/gen/envoy/type/matcher/v3/string_pb.js";
import type { Facts } from "../../src/policy/decision.ts";
import { blockContains, parseIpAddress, parseIpBlock } from "../../src/policy/ip-block.ts";

/** RE2's `\C` (any byte) has no equal in JavaScript, whose `[^]` is the same for ASCII; the match is of the whole text, as Envoy's is. */
function fullMatch(regex: string, text: string): boolean {
  return new RegExp(`^(?:${regex.replaceAll("\\C", "[^]")})$`).test(text);
}

function matchString({ matchPattern, ignoreCase }: StringMatcher, text: string): boolean {
  const fold = (value: string) => (ignoreCase ? value.toLowerCase() : value);
  switch (matchPattern.case) {
    case "exact":
      return fold(text) === fold(matchPattern.value);
    case "prefix":
      return fold(text).startsWith(fold(matchPattern.value));
    case "suffix":
      return fold(text).endsWith(fold(matchPattern.value));
    case "safeRegex":
      return fullMatch(matchPattern.value.regex, text);
    default:
      throw new Error(`unexpected matcher ${String(matchPattern.case)}`);
  }
}

function headerValues(name: string, { http }: Facts): readonly string[] {
  if (http === undefined) return [];
  if (name === ":authority") return [http.host];
  if (name === ":method") return [http.method];
  return http.headers.get(name) ?? [];
}

function matchHeader({ name, headerMatchSpecifier }: MessageShape<typeof HeaderMatcherSchema>, facts: Facts): boolean {
  if (headerMatchSpecifier.case !== "stringMatch") throw new Error(`unexpected header matcher ${String(headerMatchSpecifier.case)}`);
  const matcher = headerMatchSpecifier.value;
  return headerValues(name, facts).some((value) => matchString(matcher, value));
}

function inRange({ addressPrefix, prefixLen }: CidrRange, text: string): boolean {
  const address = parseIpAddress(text);
  return address !== undefined && blockContains(parseIpBlock(`${addressPrefix}/${prefixLen}`), address);
}

function permits({ rule }: Permission, facts: Facts): boolean {
  switch (rule.case) {
    case "any":
      return true;
    case "andRules":
      return rule.value.rules.every((inner) => permits(inner, facts));
    case "orRules":
      return rule.value.rules.some((inner) => permits(inner, facts));
    case "notRule":
      return !permits(rule.value, facts);
    case "header":
      return matchHeader(rule.value, facts);
    case "urlPath": {
      const path = rule.value.rule.value;
      return path !== undefined && facts.http !== undefined && matchString(path, facts.http.path);
    }
    case "destinationIp":
      return inRange(rule.value, facts.destinationIp);
    case "destinationPort":
      return rule.value === facts.destinationPort;
    case "requestedServerName":
      return matchString(rule.value, facts.sni);
    default:
      throw new Error(`unexpected permission ${String(rule.case)}`);
  }
}

function identifies({ identifier }: Principal, facts: Facts): boolean {
  switch (identifier.case) {
    case "any":
      return true;
    case "andIds":
      return identifier.value.ids.every((inner) => identifies(inner, facts));
    case "orIds":
      return identifier.value.ids.some((inner) => identifies(inner, facts));
    case "notId":
      return !identifies(identifier.value, facts);
    case "authenticated": {
      const name = identifier.value.principalName;
      return facts.peer !== undefined && (name === undefined || matchString(name, facts.peer));
    }
    case "directRemoteIp":
      return inRange(identifier.value, facts.sourceIp);
    case "remoteIp":
      return inRange(identifier.value, facts.remoteIp);
    default:
      throw new Error(`unexpected principal ${String(identifier.case)}`);
  }
}

function matches(policy: Policy, facts: Facts): boolean {
  return (
    policy.permissions.some((permission) => permits(permission, facts)) &&
    policy.principals.some((principal) => identifies(principal, facts))
  );
}

/** The name of the first policy that matches, in Envoy's order: by name. */
export function firstMatch(rules: RBAC, facts: Facts): string | undefined {
  return Object.keys(rules.policies)
    .sort()
    .find((name) => {
      const policy = rules.policies[name];
      return policy !== undefined && matches(policy, facts);
    });
}
