/** Compiling also yields what became of each policy object, so that a refusal always has a reader. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { policyApplies } from "../mesh/selection.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import { attributeRow } from "../policy/attributes.ts";
import type { AuthorizationPolicyObject, PeerAuthenticationObject, RequestAuthenticationObject, Rule } from "../policy/model.ts";
import { objectKey } from "../policy/model.ts";
import { checkServices } from "./outbound-status.ts";
import type { WorkloadPolicy } from "./workload-policy.ts";

export interface ObjectStatus {
  /** `Kind NAMESPACE/NAME`. */
  readonly object: string;
  /** Its last form is invalid; what is in force is the closed form. */
  readonly closed: boolean;
  /** `NAMESPACE/NAME` of the workloads that it selects. */
  readonly workloads: readonly string[];
}

type PolicyObject = PeerAuthenticationObject | RequestAuthenticationObject | AuthorizationPolicyObject;

function selectedBy(snapshot: MeshSnapshot, policy: PolicyObject): readonly string[] {
  const { namespace } = policy.meta;
  const scope = { namespace, selector: policy.selector };
  const ignored = policy.kind === "PeerAuthentication" && namespace === snapshot.settings.rootNamespace && policy.selector.size > 0;
  if (ignored) return [];
  return [...snapshot.workloads.values()].filter((workload) => policyApplies(snapshot, scope, workload)).map(({ key }) => key);
}

/** One status for each policy. */
export function policyStatuses(snapshot: MeshSnapshot): readonly ObjectStatus[] {
  const peer = snapshot.peerAuthentications.map((policy) => ({ policy, closed: policy.mtls === "invalid" }));
  const request = snapshot.requestAuthentications.map((policy) => ({ policy, closed: policy.jwtRules === "invalid" }));
  const authorization = snapshot.authorizationPolicies.map((policy) => ({ policy, closed: policy.rules === "invalid" }));
  return [...peer, ...request, ...authorization].map(({ policy, closed }) => ({
    object: objectKey(policy),
    closed,
    workloads: selectedBy(snapshot, policy),
  }));
}

function unselecting(snapshot: MeshSnapshot): readonly Diagnostic[] {
  const policies: readonly PolicyObject[] = [
    ...snapshot.peerAuthentications,
    ...snapshot.requestAuthentications,
    ...snapshot.authorizationPolicies,
  ];
  return policies.flatMap((policy): Diagnostic[] => {
    const { name, namespace, place } = policy.meta;
    if (policy.kind === "PeerAuthentication" && namespace === snapshot.settings.rootNamespace && policy.selector.size > 0) {
      const help = "Istio ignores it too: move it to the workload's namespace, or drop the selector to hold for the whole mesh";
      return [
        {
          code: "GAR0106",
          message: `PeerAuthentication \`${name}\` has a selector in the root namespace, where it is ignored`,
          place,
          help,
        },
      ];
    }
    if (policy.selector.size === 0 || selectedBy(snapshot, policy).length > 0) return [];
    return [{ code: "GAR0103", message: `the selector of ${policy.kind} \`${namespace}/${name}\` selects no workload`, place }];
  });
}

function usesHttp(rule: Rule): boolean {
  return [...rule.from, ...rule.to, rule.when].some((clauses) => clauses.some(({ attribute }) => attributeRow(attribute).layer === 7));
}

function namesPort(rule: Rule): boolean {
  return rule.to.length > 0 && rule.to.every((clauses) => clauses.some(({ attribute }) => attribute === "destinationPort"));
}

/** DENY rules whose HTTP fields fall away on TCP ports, so that they deny whole connections there (AZ-8). */
function widenedDenies(snapshot: MeshSnapshot, compiled: ReadonlyMap<string, WorkloadPolicy>): readonly Diagnostic[] {
  return snapshot.authorizationPolicies.flatMap((policy): Diagnostic[] => {
    if (policy.action !== "DENY" || policy.rules === "invalid" || !policy.rules.some((rule) => usesHttp(rule) && !namesPort(rule)))
      return [];
    const ports = [...snapshot.workloads.values()]
      .filter((workload) => policyApplies(snapshot, { namespace: policy.meta.namespace, selector: policy.selector }, workload))
      .flatMap((workload) =>
        (compiled.get(workload.key)?.inbound ?? [])
          .filter(({ protocol }) => protocol === "tcp")
          .map(({ port }) => `${workload.key}:${port}`),
      );
    if (ports.length === 0) return [];
    const message = `DENY policy \`${policy.meta.namespace}/${policy.meta.name}\` has HTTP fields, which fall away on TCP ports: it denies every connection to ${ports.join(", ")}`;
    return [{ code: "GAR0201", message, place: policy.meta.place, help: "add `ports` with the HTTP ports to each operation of the rule" }];
  });
}

/** Two workloads whose proxies would listen on one address and port. */
function clashingListeners(snapshot: MeshSnapshot, compiled: ReadonlyMap<string, WorkloadPolicy>): readonly Diagnostic[] {
  const owners = new Map<string, string>();
  const diagnostics: Diagnostic[] = [];
  for (const [key, policy] of compiled) {
    const place = snapshot.workloads.get(key)?.place;
    const outbound = policy.outbound.map(({ bind }) => (bind.kind === "tcp" ? `${bind.host}:${bind.port}` : `unix://${bind.path}`));
    for (const address of [...policy.inbound.map(({ bind, port }) => `${bind}:${port}`), ...outbound]) {
      const owner = owners.get(address);
      owners.set(address, owner ?? key);
      if (owner === undefined || place === undefined) continue;
      diagnostics.push({
        code: "GAR0104",
        message:
          owner === key
            ? `workload \`${key}\` listens twice on ${address}`
            : `workloads \`${owner}\` and \`${key}\` both listen on ${address}`,
        place,
        help: "change `bind` or `port` in the Sidecar of one of them",
      });
    }
  }
  return diagnostics;
}

/** What a reader should know of a mesh that compiles. */
export function checkMesh(snapshot: MeshSnapshot, compiled: ReadonlyMap<string, WorkloadPolicy>): readonly Diagnostic[] {
  return [
    ...checkServices(snapshot),
    ...unselecting(snapshot),
    ...widenedDenies(snapshot, compiled),
    ...clashingListeners(snapshot, compiled),
  ];
}
