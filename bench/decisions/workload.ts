/** Rules and requests that every engine can say: by caller or by namespace, by method, by path; some of them deny. */
import type { CompiledRule, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import type { Facts } from "../../src/policy/decision.ts";
import type { Clause } from "../../src/policy/model.ts";
import { parseStringMatch } from "../../src/policy/pattern.ts";

export interface BenchRule {
  readonly effect: "allow" | "deny";
  /** Exactly one of the two. */
  readonly principal?: string;
  readonly namespace?: string;
  readonly method: string;
  /** A `*` at its end stands for any end. */
  readonly path: string;
}

export interface BenchRequest {
  readonly principal: string;
  readonly namespace: string;
  readonly method: string;
  readonly path: string;
}

/** An engine with the rules in it. */
export interface Contestant {
  readonly name: string;
  /** Whether the nth request is allowed. */
  decide(index: number): boolean;
}

const APPLICATIONS_OF_A_NAMESPACE = 20;

function namespaceOf(application: number): string {
  return `team-${Math.floor(application / APPLICATIONS_OF_A_NAMESPACE)}`;
}

function principalOf(application: number): string {
  return `cluster.local/ns/${namespaceOf(application)}/sa/app-${application}`;
}

/** Of ten rules, three let an application read below a path and three write to one, two let a namespace read, one denies a part of it, one denies an application. */
function ruleOf(index: number): BenchRule {
  const application = Math.floor(index / 4);
  const [principal, namespace] = [principalOf(application), namespaceOf(application)];
  const kind = index % 10;
  if (kind < 3) return { effect: "allow", principal, method: "GET", path: `/api/v1/orders-${index}/*` };
  if (kind < 6) return { effect: "allow", principal, method: "POST", path: `/api/v1/orders-${index}` };
  if (kind < 8) return { effect: "allow", namespace, method: "GET", path: `/shared/${index}/*` };
  if (kind < 9) return { effect: "deny", namespace, method: "GET", path: `/shared/${index - 1}/private/*` };
  return { effect: "deny", principal, method: "GET", path: `/api/v1/orders-${index - 9}/admin/*` };
}

export function makeRules(count: number): readonly BenchRule[] {
  return Array.from({ length: count }, (_, index) => ruleOf(index));
}

/** Spread evenly over the rules: three of four are a rule's own, the fourth is such a request with a method that no rule takes. */
export function makeRequests(rules: readonly BenchRule[], count: number): readonly BenchRequest[] {
  return Array.from({ length: count }, (_, index) => {
    const at = Math.floor((index * rules.length) / count);
    const rule = rules[at] ?? ruleOf(0);
    const application = Math.floor(at / 4);
    const principal = principalOf(application);
    const method = index % 4 === 3 ? "DELETE" : rule.method;
    return { principal, namespace: namespaceOf(application), method, path: rule.path.replace("*", "item") };
  });
}

// === As Garrison takes them ===

function clause(attribute: Clause["attribute"], value: string): Clause {
  return { attribute, argument: "", values: [parseStringMatch(value)], negated: false };
}

function toCompiled({ principal, namespace, method, path }: BenchRule, rule: number): CompiledRule {
  const from = principal === undefined ? clause("namespace", namespace ?? "") : clause("principal", principal);
  const to = [clause("method", method), clause("path", path)];
  return { origin: { namespace: "bench", policy: `p-${rule}`, rule: 0 }, condition: { kind: "when", from: [[from]], to: [to], when: [] } };
}

/** As it reaches a proxy. */
export function toPolicy(rules: readonly BenchRule[]): Pick<WorkloadPolicy, "http" | "tcp"> {
  const of = (effect: BenchRule["effect"]): readonly CompiledRule[] => rules.filter((rule) => rule.effect === effect).map(toCompiled);
  const http = { audit: [], deny: of("deny"), allow: of("allow") };
  return JSON.parse(JSON.stringify({ http, tcp: { audit: [], deny: [], allow: undefined } }));
}

export function toFacts({ principal, method, path }: BenchRequest): Facts {
  return {
    peer: `spiffe://${principal}`,
    sourceIp: "10.0.0.1",
    remoteIp: "10.0.0.1",
    destinationIp: "10.0.0.2",
    destinationPort: 8080,
    sni: "",
    http: { method, path, host: "shop", headers: new Map() },
  };
}
