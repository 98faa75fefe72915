/** Which objects hold for which workload: by namespace, root namespace and labels. */
import type { Selector, ServiceObject, SidecarObject } from "../policy/model.ts";
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

/** Whether a policy of `namespace` with `selector` holds for a workload: its own namespace, or the root namespace (AZ-16). */
export function policyApplies(
  snapshot: MeshSnapshot,
  policy: { readonly namespace: string; readonly selector: Selector },
  workload: Workload,
): boolean {
  const inScope = policy.namespace === workload.namespace || policy.namespace === snapshot.settings.rootNamespace;
  return inScope && selectorMatches(policy.selector, workload.labels);
}
