/** What a reader should know of CUSTOM policies: whom they cannot ask, and what is denied for it. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { policyApplies } from "../mesh/selection.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import type { AuthorizationPolicyObject, Rule } from "../policy/model.ts";
import { authorizerOf, isUnusable, PLACES, type Transport } from "./authorizers.ts";
import { onPort } from "./warnings/reach.ts";
import type { WorkloadPolicy } from "./workload-policy.ts";

type Compiled = ReadonlyMap<string, WorkloadPolicy>;
type Asking = AuthorizationPolicyObject & { readonly provider: string };

/** CUSTOM policies whose rules are in force. */
function askingPolicies(snapshot: MeshSnapshot): readonly Asking[] {
  return snapshot.authorizationPolicies.filter((policy): policy is Asking => policy.provider !== undefined && policy.rules !== "invalid");
}

function describe({ meta }: AuthorizationPolicyObject): string {
  return `AuthorizationPolicy \`${meta.namespace}/${meta.name}\``;
}

/** Policies whose provider can be asked of nothing: what they match is denied. */
function unusableProviders(snapshot: MeshSnapshot): readonly Diagnostic[] {
  return askingPolicies(snapshot).flatMap((policy): Diagnostic[] => {
    const found = authorizerOf(snapshot, policy.provider);
    if (!isUnusable(found)) return [];
    const message = `${describe(policy)} asks the extension provider \`${policy.provider}\`, which ${found.why}: what its rules match is denied`;
    return [{ code: "GAR0102", message, place: policy.meta.place, help: found.help }];
  });
}

function workloadsOf(snapshot: MeshSnapshot, policy: AuthorizationPolicyObject): readonly Workload[] {
  return [...snapshot.workloads.values()].filter((workload) => policyApplies(snapshot, policy, workload));
}

/** The TCP ports that a rule may match at. */
function tcpPortsOf(compiled: Compiled, workloads: readonly Workload[], rules: readonly Rule[]): readonly string[] {
  return workloads.flatMap(({ key }) =>
    (compiled.get(key)?.inbound ?? [])
      .filter(({ port, protocol }) => protocol === "tcp" && rules.some((rule) => onPort(rule, port) !== undefined))
      .map(({ port }) => `${key}:${port}`),
  );
}

/** Policies over HTTP at workloads with TCP ports that none of their rules leaves out: nobody can be asked there (AZ-8). */
function httpOnTcp(snapshot: MeshSnapshot, compiled: Compiled): readonly Diagnostic[] {
  return askingPolicies(snapshot).flatMap((policy): Diagnostic[] => {
    const found = authorizerOf(snapshot, policy.provider);
    if (isUnusable(found) || found.kind !== "http") return [];
    const rules = policy.rules === "invalid" ? [] : policy.rules;
    const ports = tcpPortsOf(compiled, workloadsOf(snapshot, policy), rules);
    if (ports.length === 0) return [];
    const message = `${describe(policy)} asks a provider of HTTP, which no TCP connection can be asked of: it denies connections to ${ports.join(", ")}`;
    const help = "add `ports` with the HTTP ports to each operation of its rules, or ask a provider of gRPC";
    return [{ code: "GAR0201", message, place: policy.meta.place, help }];
  });
}

/** Workloads at which more providers are asked than listeners have places for: the rules of the others deny. */
function tooManyProviders(snapshot: MeshSnapshot, compiled: Compiled): readonly Diagnostic[] {
  const asked = askingPolicies(snapshot).filter(({ provider }) => !isUnusable(authorizerOf(snapshot, provider)));
  return [...snapshot.workloads.values()].flatMap((workload): Diagnostic[] => {
    const here = asked.filter((policy) => workloadsOf(snapshot, policy).includes(workload));
    return (["http", "tcp"] as const).flatMap((transport) => overfull(compiled, workload, here, transport));
  });
}

function overfull(compiled: Compiled, workload: Workload, policies: readonly Asking[], transport: Transport): readonly Diagnostic[] {
  const { authorizers = [], inbound = [] } = compiled.get(workload.key) ?? {};
  const speaks = inbound.some(({ protocol }) => (protocol === "tcp") === (transport === "tcp"));
  const names = authorizers.filter(({ kind }) => transport === "http" || kind === "grpc").map(({ name }) => name);
  if (!speaks || names.length <= PLACES[transport]) return [];
  const place = policies.at(-1)?.meta.place ?? workload.place;
  const message = `workload \`${workload.key}\` asks ${names.length} extension providers over ${transport.toUpperCase()}, more than ${PLACES[transport]}: the rules of the others deny`;
  return [{ code: "GAR0009", message, place, help: `ask fewer of ${names.join(", ")} at this workload` }];
}

/** Of all CUSTOM policies. */
export function checkCustom(snapshot: MeshSnapshot, compiled: Compiled): readonly Diagnostic[] {
  return [...unusableProviders(snapshot), ...httpOnTcp(snapshot, compiled), ...tooManyProviders(snapshot, compiled)];
}
