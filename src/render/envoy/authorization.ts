/**
 * Rule lists -> Envoy's RBAC filters, each an extension config of its own (ECDS), so that a change of policy never
 * touches a listener: it holds for the next request of a connection that is already open, and no connection is drained.
 */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import type { AuthorizationLayers, CompiledRule, Condition } from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import { keptWith } from "../../core/kept-with.ts";
import { PolicySchema, RBAC_Action } from "../../gen/envoy/config/rbac/v3/rbac_pb.js";
import { RBACSchema as HttpRbacSchema } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { RBACSchema as NetworkRbacSchema } from "../../gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { attributeRow } from "../../policy/attributes.ts";
import { DRY_RUN_PREFIX } from "../../policy/dry-run.ts";
import type { Clause } from "../../policy/model.ts";
import { formatEnvoyPolicyId, REVOKED, TWO_NAMES } from "../../policy/origin.ts";
import type { ValueMatch } from "../../policy/pattern.ts";
import { typeUrl } from "./any.ts";
import { ENVOY_ATTRIBUTES, type EnvoyAttribute, type PermissionInit, type PrincipalInit } from "./attributes.ts";
import { certificateIsOneOf } from "./cel.ts";
import type { FilterConfig } from "./filter-config.ts";
import { withoutPeers } from "./outside-rules.ts";
import { type Logic, PERMISSIONS, PRINCIPALS } from "./rbac-logic.ts";
import { twoNamesPolicy } from "./two-names.ts";
import { delimited, joinedFields } from "./wire.ts";

export type Transport = "http" | "tcp";
type PolicyInit = MessageInitShape<typeof PolicySchema>;

/**
 * The filters of a listener, in the order in which they are asked (AZ-1). ALLOW rules of dry runs have a filter of their
 * own for TCP alone: each filter has one place for shadow rules, and the ALLOW filter's is taken there.
 */
const LAYERS = { http: ["audit", "deny", "allow"], tcp: ["audit", "deny", "dry-run", "allow"] } as const;
type Layer = (typeof LAYERS)["tcp"][number];

/** Whose requests and connections: `outside` is HTTP whose clients have no identity of the mesh, whatever certificate they show. */
export type Scope = Transport | "outside";

function transportOf(scope: Scope): Transport {
  return scope === "tcp" ? "tcp" : "http";
}

/** The names of a workload's filters for one scope, in the order in which a listener asks them. */
export function authorizationFilterNames(workload: string, scope: Scope): readonly string[] {
  return LAYERS[transportOf(scope)].map((layer) => `${workload}/${scope}/${layer}`);
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

const ACTION = {
  audit: RBAC_Action.LOG,
  deny: RBAC_Action.DENY,
  "dry-run": RBAC_Action.ALLOW,
  allow: RBAC_Action.ALLOW,
} as const satisfies Record<Layer, RBAC_Action>;

const NOBODY: readonly string[] = [];
const NONE_BARRED: Barred = { revoked: NOBODY, foreign: NOBODY };
const TEXT = new TextEncoder();
/** Of `RBAC`, and of an entry of its map of policies. */
const RBAC = { action: 1, policies: 2 } as const;
const ENTRY = { key: 1, value: 2 } as const;

function serializedEntry(id: string, policy: PolicyInit): Uint8Array {
  const value = toBinary(PolicySchema, create(PolicySchema, policy));
  return delimited(RBAC.policies, delimited(ENTRY.key, TEXT.encode(id)), delimited(ENTRY.value, value));
}

const serialized = { http: new WeakMap<CompiledRule, Uint8Array>(), tcp: new WeakMap<CompiledRule, Uint8Array>() };

/** A rule is serialized once, however many workloads it holds for. */
function entryOf(rule: CompiledRule, id: string, transport: Transport): Uint8Array {
  const known = serialized[transport].get(rule);
  if (known !== undefined) return known;
  const entry = serializedEntry(id, toPolicy(rule.condition, transport));
  serialized[transport].set(rule, entry);
  return entry;
}

/** The action, which is the default where it is 0, before the entries. */
const ACTION_FIELD = new Map(
  Object.values(ACTION).map((action) => [action, Uint8Array.from(action === 0 ? [] : [RBAC.action << 3, action])]),
);

/** The field of a filter with rules, as `toBinary` would write it. */
function rulesField(field: number, layer: Layer, { rules, revoked, foreign }: Enforced, transport: Transport): Uint8Array {
  const ids = new Set<string>();
  const entries = rules.map((rule) => {
    const id = formatEnvoyPolicyId(rule.origin);
    if (ids.has(id)) throw new AppError("internal", `two rules are called \`${id}\``);
    ids.add(id);
    return entryOf(rule, id, transport);
  });
  if (revoked.length > 0) entries.push(serializedEntry(formatEnvoyPolicyId(REVOKED), revokedPolicy(revoked)));
  if (foreign.length > 0) entries.push(serializedEntry(formatEnvoyPolicyId(TWO_NAMES), twoNamesPolicy(foreign)));
  return delimited(field, ACTION_FIELD.get(ACTION[layer]) ?? new Uint8Array(), ...entries);
}

/** Who is denied whatever the rules say. */
interface Barred {
  /** Digests of certificates whose holders are denied. */
  readonly revoked: readonly string[];
  /** Trust domains whose CAs may give no names of others. */
  readonly foreign: readonly string[];
}

interface Enforced extends Barred {
  readonly rules: readonly CompiledRule[];
}

/** A layer without rules is a filter without rules, which lets everything pass; an ALLOW with an empty list is one that lets nothing pass. */
function enforcedRules(layer: Layer, { deny, allow }: AuthorizationLayers, { revoked, foreign }: Barred): Enforced | undefined {
  if (layer === "allow") return allow === undefined ? undefined : { rules: allow, ...NONE_BARRED };
  return layer !== "deny" || deny.length + revoked.length + foreign.length === 0 ? undefined : { rules: deny, revoked, foreign };
}

interface Shadow {
  readonly rules: readonly CompiledRule[] | undefined;
  /** Of the metadata keys, so that they mix neither with one another nor with those of the rule that decides. */
  readonly prefix: string;
}

/**
 * What never blocks: AUDIT and dry runs, these under Istio's own prefixes (AZ-11). The network filter tells of no rule but
 * shadow ones, so that the ALLOW rules of TCP stand there once more. A DENY filter of dry runs is there even without rules,
 * as its metadata says that there are dry runs.
 */
function shadowRules(layer: Layer, transport: Transport, { audit, allow, dryRun }: AuthorizationLayers): Shadow {
  switch (layer) {
    case "audit":
      return { rules: audit.length > 0 ? audit : undefined, prefix: "audit_" };
    case "deny":
      return { rules: dryRun?.deny, prefix: DRY_RUN_PREFIX.deny };
    case "allow":
      if (transport === "tcp") return { rules: allow, prefix: "allow_" };
      return { rules: dryRun?.allow, prefix: DRY_RUN_PREFIX.allow };
    case "dry-run":
      return { rules: dryRun?.allow, prefix: DRY_RUN_PREFIX.allow };
  }
}

/** Of the filters' configs, the fields in their order. */
const FILTER_FIELDS = {
  http: { typeUrl: typeUrl(HttpRbacSchema), rules: 1, shadowRules: 2, statPrefix: undefined, shadowPrefix: 3 },
  tcp: { typeUrl: typeUrl(NetworkRbacSchema), rules: 1, shadowRules: 2, statPrefix: 3, shadowPrefix: 5 },
} as const;

function makeConfig(layer: Layer, transport: Transport, enforced: Enforced | undefined, { rules: shadow, prefix }: Shadow): Any {
  const of = FILTER_FIELDS[transport];
  const fields = [
    ...(enforced === undefined ? [] : [rulesField(of.rules, layer, enforced, transport)]),
    ...(shadow === undefined ? [] : [rulesField(of.shadowRules, layer, { rules: shadow, ...NONE_BARRED }, transport)]),
    ...(of.statPrefix === undefined ? [] : [delimited(of.statPrefix, TEXT.encode(`tcp_${layer}.`))]),
    ...(shadow === undefined ? [] : [delimited(of.shadowPrefix, TEXT.encode(prefix))]),
  ];
  return create(AnySchema, { typeUrl: of.typeUrl, value: joinedFields(fields) });
}

/** What a config is made of, each the same object for workloads of the same policies. */
interface Ingredients extends Barred {
  readonly enforced: readonly CompiledRule[] | undefined;
  readonly shadow: readonly CompiledRule[] | undefined;
}

const NOTHING = {};
/** Kept with rules: as long as anybody has them, for so many combinations with others. */
const COMBINATIONS = 8;

function configOf(transport: Transport, layer: Layer) {
  return keptWith(({ enforced: rules, revoked, foreign, shadow }: Ingredients, _: object): Any => {
    const enforced = rules === undefined ? undefined : { rules, revoked, foreign };
    const { prefix } = shadowRules(layer, transport, NO_RULES);
    return makeConfig(layer, transport, enforced, { rules: shadow, prefix });
  }, COMBINATIONS);
}

const NO_RULES: AuthorizationLayers = { audit: [], deny: [], allow: undefined };
const CONFIGS = {
  http: {
    audit: configOf("http", "audit"),
    deny: configOf("http", "deny"),
    "dry-run": configOf("http", "dry-run"),
    allow: configOf("http", "allow"),
  },
  tcp: {
    audit: configOf("tcp", "audit"),
    deny: configOf("tcp", "deny"),
    "dry-run": configOf("tcp", "dry-run"),
    allow: configOf("tcp", "allow"),
  },
} as const satisfies Record<Transport, Record<Layer, object>>;

/** Made and serialized once for all workloads whose rules are the same. */
function filterConfig(layer: Layer, layers: AuthorizationLayers, transport: Transport, barred: Barred): Any {
  const { rules: enforced, revoked = NOBODY, foreign = NOBODY } = enforcedRules(layer, layers, barred) ?? {};
  const { rules: shadow } = shadowRules(layer, transport, layers);
  return CONFIGS[transport][layer]({ enforced, revoked, foreign, shadow }, enforced ?? shadow ?? NOTHING);
}

/** The extension configs of a workload for one scope: all layers, whether they hold rules or not. */
export function authorizationFilters(
  workload: string,
  scope: Scope,
  asked: AuthorizationLayers,
  revoked: readonly string[] = NOBODY,
  foreignTrustDomains: readonly string[] = NOBODY,
): readonly FilterConfig[] {
  const names = authorizationFilterNames(workload, scope);
  const transport = transportOf(scope);
  const layers = scope === "outside" ? withoutPeers(asked) : asked;
  // What stands in the certificate of an outsider is nobody's name in the mesh.
  const barred = { revoked, foreign: scope === "outside" ? NOBODY : foreignTrustDomains };
  return LAYERS[transport].map((layer, index) => ({ name: names[index] ?? "", config: filterConfig(layer, layers, transport, barred) }));
}
