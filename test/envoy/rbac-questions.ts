/** Rules rendered for Envoy, and asked: what the tests of `render/envoy` have in common. */
import assert from "node:assert/strict";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import type { AuthorizationLayers, CompiledRule, Condition } from "../../src/compile/workload-policy.ts";
import { RBACSchema as HttpRbacSchema } from "../../src/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { RBACSchema as NetworkRbacSchema } from "../../src/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import type { AttributeKey } from "../../src/policy/attributes.ts";
import type { Facts } from "../../src/policy/decision.ts";
import type { Clause } from "../../src/policy/model.ts";
import type { ValueMatch } from "../../src/policy/pattern.ts";
import { authorizationFilters, type Transport } from "../../src/render/envoy/authorization.ts";
import { firstMatch } from "./evaluate-rbac.ts";

export const NOTHING: AuthorizationLayers = { audit: [], deny: [], allow: undefined };
/** What is known of a request of the frontend to the backend. */
export function facts(overrides: Partial<Facts> = {}): Facts {
  return {
    peer: "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend",
    sourceIp: "10.1.2.3",
    remoteIp: "10.1.2.3",
    destinationIp: "10.9.9.9",
    destinationPort: 8080,
    sni: "outbound_.80_._.photo-backend.photo-ns.svc.cluster.local",
    http: { method: "GET", path: "/photos/1", host: "photo-backend:80", headers: new Map([["x-version", ["v1", "v2"]]]) },
    ...overrides,
  };
}

export function clause(attribute: AttributeKey, value: ValueMatch, negated = false): Clause {
  return { attribute, argument: attribute === "header" ? "x-version" : "", values: [value], negated };
}

export function rule(condition: Condition, index = 0): CompiledRule {
  return { origin: { namespace: "photo-ns", policy: "p", rule: index }, condition };
}

export const whenClauses = (...when: readonly Clause[]): Condition => ({ kind: "when", from: [], to: [], when });

/** The rules that a filter enforces, or its shadow rules. */
export function rendered(transport: Transport, layers: Partial<AuthorizationLayers>) {
  const filters = authorizationFilters("photo-ns/photo-backend", transport, { ...NOTHING, ...layers });
  return filters.map(({ config: packed }) => {
    const config = anyUnpack(packed, transport === "http" ? HttpRbacSchema : NetworkRbacSchema);
    assert.ok(config);
    return config;
  });
}

/** Whether a DENY of this condition would match. */
export function denies(condition: Condition, asked: Facts, transport: Transport = "http"): boolean {
  const [, deny] = rendered(transport, { deny: [rule(condition)] });
  assert.ok(deny?.rules);
  return firstMatch(deny.rules, asked) !== undefined;
}
