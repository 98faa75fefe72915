/** Cedar in this process, as WebAssembly: the policies parsed once (`preparsePolicySet`), callers, namespaces and methods in the policies' scope. */
import type { BenchRequest, BenchRule, Contestant } from "../decisions/workload.ts";
import { loadPeer } from "./install.ts";

interface Entity {
  readonly type: string;
  readonly id: string;
}

interface Answer {
  readonly type: "success" | "failure";
  readonly response?: { readonly decision: "allow" | "deny" };
}

interface Cedar {
  preparsePolicySet(id: string, policies: { readonly staticPolicies: string }): { readonly type: "success" | "failure" };
  statefulIsAuthorized(call: object): Answer;
}

const POLICIES = "bench";

function policyOf({ effect, principal, namespace, method, path }: BenchRule): string {
  const who = principal === undefined ? `principal in Namespace::"${namespace}"` : `principal == Account::"${principal}"`;
  const where = path.endsWith("*") ? `context.path like "${path}"` : `context.path == "${path}"`;
  return `${effect === "allow" ? "permit" : "forbid"}(${who}, action == Action::"${method}", resource) when { ${where} };`;
}

function callOf({ principal, namespace, method, path }: BenchRequest): object {
  const uid: Entity = { type: "Account", id: principal };
  return {
    principal: uid,
    action: { type: "Action", id: method },
    resource: { type: "Service", id: "shop" },
    context: { path },
    entities: [{ uid, attrs: {}, parents: [{ type: "Namespace", id: namespace }] }],
    preparsedPolicySetId: POLICIES,
  };
}

export function cedar(rules: readonly BenchRule[], requests: readonly BenchRequest[]): Contestant {
  const wasm = loadPeer("@cedar-policy/cedar-wasm/nodejs") as Cedar;
  const { type } = wasm.preparsePolicySet(POLICIES, { staticPolicies: rules.map(policyOf).join("\n") });
  if (type !== "success") throw new Error("cedar refuses the policies");
  const calls = requests.map(callOf);
  return { name: "cedar-wasm", decide: (index) => wasm.statefulIsAuthorized(calls[index] ?? {}).response?.decision === "allow" };
}
