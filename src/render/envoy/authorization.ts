/**
 * Rule lists -> Envoy's RBAC filters, each an extension config of its own (ECDS), so that a change of policy never
 * touches a listener: it holds for the next request of a connection that is already open, and no connection is drained.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { AuthorizationLayers, CompiledRule, Condition } from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import { type TypedExtensionConfig, TypedExtensionConfigSchema } from "../../gen/envoy/config/core/v3/extension_pb.js";
import { type PolicySchema, RBAC_Action, type RBACSchema } from "../../gen/envoy/config/rbac/v3/rbac_pb.js";
import { RBACSchema as HttpRbacSchema } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { RBACSchema as NetworkRbacSchema } from "../../gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { attributeRow } from "../../policy/attributes.ts";
import type { Clause } from "../../policy/model.ts";
import { formatEnvoyPolicyId, REVOKED } from "../../policy/origin.ts";
import type { ValueMatch } from "../../policy/pattern.ts";
import { pack } from "./any.ts";
import { ENVOY_ATTRIBUTES, type EnvoyAttribute, type PermissionInit, type PrincipalInit } from "./attributes.ts";
import { certificateIsOneOf } from "./cel.ts";
import { withoutPeers } from "./outside-rules.ts";
import { type Logic, PERMISSIONS, PRINCIPALS } from "./rbac-logic.ts";

export type Transport = "http" | "tcp";
type PolicyInit = MessageInitShape<typeof PolicySchema>;
type RulesInit = MessageInitShape<typeof RBACSchema>;

/** The filters of a listener, in the order in which they are asked (AZ-1). */
const LAYERS = ["audit", "deny", "allow"] as const satisfies readonly (keyof AuthorizationLayers)[];
type Layer = (typeof LAYERS)[number];

/** Whose requests and connections: `outside` is HTTP whose clients have no identity of the mesh, whatever certificate they show. */
export type Scope = Transport | "outside";

/** The names of a workload's filters for one scope, in the order in which a listener asks them. */
export function authorizationFilterNames(workload: string, scope: Scope): readonly string[] {
  return LAYERS.map((layer) => `${workload}/${scope}/${layer}`);
}

// === A rule ===

/** Rules reach this place compiled; what does not fit is our defect, and nothing may be rendered of it. */
function misfit(clause: Clause, why: string): AppError {
  return new AppError("internal", `attribute \`${clause.attribute}\` ${why}`);
}

function matchClause<T>(logic: Logic<T>, match: (value: ValueMatch, argument: string) => T, clause: Clause): T {
  if (clause.values.length === 0) throw misfit(clause, "has no values");
  const matched = logic.any(clause.values.map((value) => match(value, clause.argument)));
  return clause.negated ? logic.not(matched) : matched;
}

function principalOf(clause: Clause): PrincipalInit {
  const row: EnvoyAttribute = ENVOY_ATTRIBUTES[clause.attribute];
  if (row.side !== "principal") throw misfit(clause, "does not describe a peer");
  return matchClause(PRINCIPALS, row.match, clause);
}

function permissionOf(clause: Clause): PermissionInit {
  const row: EnvoyAttribute = ENVOY_ATTRIBUTES[clause.attribute];
  if (row.side !== "permission") throw misfit(clause, "does not describe an operation");
  return matchClause(PERMISSIONS, row.match, clause);
}

/** Envoy evaluates HTTP attributes of a TCP connection as absent, so that a DENY would silently never match. */
function refuseHttpOnly(clauses: readonly Clause[]): void {
  for (const clause of clauses) {
    if (attributeRow(clause.attribute).layer === 7) throw misfit(clause, "is unknown of a TCP connection");
  }
}

function sideOf(clause: Clause): EnvoyAttribute["side"] {
  return ENVOY_ATTRIBUTES[clause.attribute].side;
}

/** `from` AND `to` AND `when` (AZ-3, AZ-5); Envoy joins the two sides of a policy by AND. */
export function toPolicy(condition: Condition, transport: Transport): PolicyInit {
  if (condition.kind === "never")
    return { permissions: [PERMISSIONS.not(PERMISSIONS.all([]))], principals: [PRINCIPALS.not(PRINCIPALS.all([]))] };
  if (condition.kind === "always") return { permissions: [PERMISSIONS.all([])], principals: [PRINCIPALS.all([])] };
  const { from, to, when } = condition;
  if (transport === "tcp") for (const clauses of [...from, ...to, when]) refuseHttpOnly(clauses);
  const principals = from.map((clauses) => PRINCIPALS.all(clauses.map(principalOf)));
  const permissions = to.map((clauses) => PERMISSIONS.all(clauses.map(permissionOf)));
  const whenPrincipals = when.filter((clause) => sideOf(clause) === "principal").map(principalOf);
  const whenPermissions = when.filter((clause) => sideOf(clause) === "permission").map(permissionOf);
  return {
    permissions: [PERMISSIONS.all([...(to.length === 0 ? [] : [PERMISSIONS.any(permissions)]), ...whenPermissions])],
    principals: [PRINCIPALS.all([...(from.length === 0 ? [] : [PRINCIPALS.any(principals)]), ...whenPrincipals])],
  };
}

/** Everything that comes by one of these certificates, on connections that are open already too. */
function revokedPolicy(digests: readonly string[]): PolicyInit {
  return { permissions: [PERMISSIONS.all([])], principals: [PRINCIPALS.all([])], condition: certificateIsOneOf(digests) };
}

// === A filter ===

const ACTION = { audit: RBAC_Action.LOG, deny: RBAC_Action.DENY, allow: RBAC_Action.ALLOW } as const satisfies Record<Layer, RBAC_Action>;

function toRules(layer: Layer, rules: readonly CompiledRule[], transport: Transport): RulesInit {
  const policies: Record<string, PolicyInit> = {};
  for (const { origin, condition } of rules) {
    const id = formatEnvoyPolicyId(origin);
    if (Object.hasOwn(policies, id)) throw new AppError("internal", `two rules are called \`${id}\``);
    policies[id] = toPolicy(condition, transport);
  }
  return { action: ACTION[layer], policies };
}

/**
 * A layer without rules is a filter without rules, which lets everything pass; an ALLOW with an empty list is one that
 * lets nothing pass. AUDIT never blocks, so its rules are shadow rules, whose metadata keys carry a prefix and do not mix
 * with those of the rule that decides. The network filter tells of no rule but shadow ones, so that the ALLOW rules of
 * TCP stand there once more.
 */
function filterConfig(layer: Layer, rules: readonly CompiledRule[] | undefined, transport: Transport, revoked: readonly string[]): Any {
  const refuses = layer === "deny" && revoked.length > 0;
  const present = rules !== undefined && (rules.length > 0 || layer === "allow" || refuses);
  const rendered = present ? toRules(layer, rules, transport) : undefined;
  if (refuses && rendered?.policies !== undefined) rendered.policies[formatEnvoyPolicyId(REVOKED)] = revokedPolicy(revoked);
  const shadow = layer === "audit" || (layer === "allow" && transport === "tcp");
  const body = {
    ...(rendered === undefined || layer === "audit" ? {} : { rules: rendered }),
    ...(rendered === undefined || !shadow ? {} : { shadowRules: rendered, shadowRulesStatPrefix: `${layer}_` }),
  };
  return transport === "http" ? pack(HttpRbacSchema, body) : pack(NetworkRbacSchema, { ...body, statPrefix: `tcp_${layer}.` });
}

/** The extension configs of a workload for one scope: all three layers, whether they hold rules or not. */
export function authorizationFilters(
  workload: string,
  scope: Scope,
  asked: AuthorizationLayers,
  revoked: readonly string[] = [],
): readonly TypedExtensionConfig[] {
  const names = authorizationFilterNames(workload, scope);
  const transport = scope === "tcp" ? "tcp" : "http";
  const layers = scope === "outside" ? withoutPeers(asked) : asked;
  return LAYERS.map((layer, index) =>
    create(TypedExtensionConfigSchema, { name: names[index] ?? "", typedConfig: filterConfig(layer, layers[layer], transport, revoked) }),
  );
}
