/** Which objects hold for which workload: by namespace, root namespace and labels. */
import type { ObjectMeta, Selector, ServiceObject, SidecarObject, TargetRef } from "../policy/model.ts";
import type { MeshSnapshot, Workload } from "./snapshot.ts";

/** Whether every label of the selector is on the workload; an empty selector selects all. */
export function selectorMatches(selector: Selector, labels: ReadonlyMap<string, string>): boolean {
  for (const [key, value] of selector) if (labels.get(key) !== value) return false;
  return true;
}

/** Workloads that a Service selects: same namespace, non-empty selector (a Service without one selects nothing). */
export function workloadsOfService(snapshot: MeshSnapshot, service: ServiceObject): readonly Workload[] {
  if (service.selector.size === 0) return [];
  return [...snapshot.workloads.values()].filter(
    (workload) => workload.namespace === service.meta.namespace && selectorMatches(service.selector, workload.labels),
  );
}

/** The Sidecar in force: the narrowest of workload, namespace and root namespace; the oldest of several. */
export function sidecarOf(snapshot: MeshSnapshot, workload: Workload): SidecarObject | undefined {
  const own = snapshot.sidecars.filter((sidecar) => sidecar.meta.namespace === workload.namespace);
  return (
    own.find((sidecar) => sidecar.selector.size > 0 && selectorMatches(sidecar.selector, workload.labels)) ??
    own.find((sidecar) => sidecar.selector.size === 0) ??
    snapshot.sidecars.find((sidecar) => sidecar.meta.namespace === snapshot.settings.rootNamespace && sidecar.selector.size === 0)
  );
}

/** The Kubernetes Gateway API's label of a gateway's workloads: its value is the gateway's name. */
const GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name";

/** What a policy says of where it holds. */
interface Attachment {
  readonly meta: Pick<ObjectMeta, "namespace">;
  readonly selector: Selector;
  readonly targetRefs?: readonly TargetRef[];
}

/** By `targetRefs`: the workloads that are labelled as the gateway, in the policy's own namespace. Every other proxy ignores such a policy. */
function isTarget(targetRefs: readonly TargetRef[], namespace: string, workload: Workload): boolean {
  const gateway = workload.labels.get(GATEWAY_NAME);
  return workload.namespace === namespace && targetRefs.some(({ kind, name }) => kind === "Gateway" && name === gateway);
}

/** Whether a policy holds for a workload: by `targetRefs`, or by labels in its own namespace or from the root namespace (AZ-16). */
export function policyApplies(snapshot: MeshSnapshot, { meta, selector, targetRefs }: Attachment, workload: Workload): boolean {
  if (targetRefs !== undefined) return isTarget(targetRefs, meta.namespace, workload);
  const inScope = meta.namespace === workload.namespace || meta.namespace === snapshot.settings.rootNamespace;
  return inScope && selectorMatches(selector, workload.labels);
}
