/** casbin in this process: its RBAC-like model with an effect for each rule, its own path matcher, and the synchronous call, the quicker one. */
import type { BenchRequest, BenchRule, Contestant } from "../decisions/workload.ts";
import { loadPeer } from "./install.ts";

interface Enforcer {
  addPolicies(rules: string[][]): Promise<boolean>;
  enforceSync(...request: string[]): boolean;
}

interface Casbin {
  newModel(text: string): unknown;
  newEnforcer(model: unknown): Promise<Enforcer>;
}

/** What is cheap and refuses most comes first. */
const MODEL = `
[request_definition]
r = sub, ns, act, obj
[policy_definition]
p = sub, ns, act, obj, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = r.act == p.act && (p.sub == "" || r.sub == p.sub) && (p.ns == "" || r.ns == p.ns) && keyMatch(r.obj, p.obj)
`;

export async function casbin(rules: readonly BenchRule[], requests: readonly BenchRequest[]): Promise<Contestant> {
  const { newModel, newEnforcer } = loadPeer("casbin") as Casbin;
  const enforcer = await newEnforcer(newModel(MODEL));
  await enforcer.addPolicies(
    rules.map(({ principal = "", namespace = "", method, path, effect }) => [principal, namespace, method, path, effect]),
  );
  const calls = requests.map(({ principal, namespace, method, path }) => [principal, namespace, method, path]);
  return { name: "casbin", decide: (index) => enforcer.enforceSync(...(calls[index] ?? [])) };
}
