/** Compiling also yields what became of each policy object, so that a refusal always has a reader. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { policyApplies, workloadsInReach } from "../mesh/selection.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import type { AuthorizationPolicyObject, PeerAuthenticationObject, RequestAuthenticationObject, TargetRef } from "../policy/model.ts";
import { objectKey } from "../policy/model.ts";
import type { WorkloadPolicy } from "./workload-policy.ts";

export interface ObjectStatus {
  /** `Kind NAMESPACE/NAME`. */
  readonly object: string;
  /** Its last form is invalid; what is in force is the closed form. */
  readonly closed: boolean;
  /** `NAMESPACE/NAME` of the workloads that it selects. */
  readonly workloads: readonly string[];
}

export type PolicyObject = PeerAuthenticationObject | RequestAuthenticationObject | AuthorizationPolicyObject;

/** A policy and the workloads that it selects. */
export interface Selection {
  readonly policy: PolicyObject;
  readonly workloads: readonly Workload[];
}

/** Every policy, in the order of its statuses. */
export function policyObjects(snapshot: MeshSnapshot): readonly PolicyObject[] {
  return [...snapshot.peerAuthentications, ...snapshot.requestAuthentications, ...snapshot.authorizationPolicies];
}

/** Istio ignores it (PA-3). */
function isIgnored(snapshot: MeshSnapshot, policy: PolicyObject): boolean {
  return policy.kind === "PeerAuthentication" && policy.meta.namespace === snapshot.settings.rootNamespace && policy.selector.size > 0;
}

/** The workloads that a policy selects. */
export function selectionOf(snapshot: MeshSnapshot, policy: PolicyObject): Selection {
  if (isIgnored(snapshot, policy)) return { policy, workloads: [] };
  const { namespace } = policy.meta;
  const workloads = workloadsInReach(snapshot, namespace).filter((workload) => policyApplies(snapshot, policy, workload));
  return { policy, workloads };
}

function isClosed(policy: PolicyObject): boolean {
  switch (policy.kind) {
    case "PeerAuthentication":
      return policy.mtls === "invalid";
    case "RequestAuthentication":
      return policy.jwtRules === "invalid";
    case "AuthorizationPolicy":
      return policy.rules === "invalid";
  }
}

export function toStatus({ policy, workloads }: Selection): ObjectStatus {
  return { object: objectKey(policy), closed: isClosed(policy), workloads: workloads.map(({ key }) => key) };
}

/** A policy by `targetRefs` that holds nowhere, as in Istio where nothing is what it names. */
function untargeted({ kind, meta }: PolicyObject, targets: readonly TargetRef[]): Diagnostic {
  const named = targets.map((target) => `${target.kind} \`${target.name}\``).join(", ");
  return {
    code: "GAR0103",
    message: `${kind} \`${meta.namespace}/${meta.name}\` is for ${named}, which no workload is`,
    place: meta.place,
    help: "`targetRefs` hold for workloads of the policy's namespace with the label `gateway.networking.k8s.io/gateway-name: NAME`; there are no waypoints: select others by `selector`",
  };
}

/** Policies that hold nowhere, or are ignored. */
export function checkSelections(snapshot: MeshSnapshot, selections: readonly Selection[]): readonly Diagnostic[] {
  return selections.flatMap(({ policy, workloads }): Diagnostic[] => {
    const { name, namespace, place } = policy.meta;
    if (isIgnored(snapshot, policy)) {
      const help = "Istio ignores it too: move it to the workload's namespace, or drop the selector to hold for the whole mesh";
      const message = `PeerAuthentication \`${name}\` has a selector in the root namespace, where it is ignored`;
      return [{ code: "GAR0106", message, place, help }];
    }
    const targets = policy.kind === "PeerAuthentication" ? undefined : policy.targetRefs;
    if (targets !== undefined) return workloads.length > 0 ? [] : [untargeted(policy, targets)];
    if (policy.selector.size === 0 || workloads.length > 0) return [];
    return [{ code: "GAR0103", message: `the selector of ${policy.kind} \`${namespace}/${name}\` selects no workload`, place }];
  });
}

/** Where a workload listens; each is asked once. */
const addresses = new WeakMap<WorkloadPolicy, readonly string[]>();

function addressesOf(policy: WorkloadPolicy): readonly string[] {
  const known = addresses.get(policy);
  if (known !== undefined) return known;
  const outbound = policy.outbound.map(({ bind }) => (bind.kind === "tcp" ? `${bind.host}:${bind.port}` : `unix://${bind.path}`));
  const inbound = [...policy.inbound, ...(policy.gateway?.listeners ?? [])].map(({ bind, port }) => `${bind}:${port}`);
  const all = [...inbound, ...outbound];
  addresses.set(policy, all);
  return all;
}

/** Two workloads whose proxies would listen on one address and port. */
export function checkListeners(snapshot: MeshSnapshot, compiled: ReadonlyMap<string, WorkloadPolicy>): readonly Diagnostic[] {
  const owners = new Map<string, string>();
  const diagnostics: Diagnostic[] = [];
  for (const [key, policy] of compiled) {
    const place = snapshot.workloads.get(key)?.place;
    for (const address of addressesOf(policy)) {
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
