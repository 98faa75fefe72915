/** Which objects hold for which workload: by namespace, root namespace and labels. */
import type { ObjectMeta, Selector, ServiceObject, SidecarObject, TargetRef } from "../policy/model.ts";
import { inNamespace, workloadsIn } from "./by-namespace.ts";
import { byAge } from "./order.ts";
import { narrow } from "./recording.ts";
import type { MeshSnapshot, Workload } from "./snapshot.ts";

/** Whether every label of the selector is on the workload; an empty selector selects all. */
export function selectorMatches(selector: Selector, labels: ReadonlyMap<string, string>): boolean {
  for (const [key, value] of selector) if (labels.get(key) !== value) return false;
  return true;
}

/** Workloads that a Service selects: same namespace, non-empty selector (a Service without one selects nothing). */
export const workloadsOfService = narrow((snapshot, service: ServiceObject): readonly Workload[] => {
  if (service.selector.size === 0) return [];
  return workloadsIn(snapshot.workloads, service.meta.namespace).filter((workload) => selectorMatches(service.selector, workload.labels));
});

/** The Sidecar in force: the narrowest of workload, namespace and root namespace; the oldest of several. */
export const sidecarOf = narrow((snapshot, workload: Workload): SidecarObject | undefined => {
  const own = inNamespace(snapshot.sidecars, workload.namespace);
  return (
    own.find((sidecar) => sidecar.selector.size > 0 && selectorMatches(sidecar.selector, workload.labels)) ??
    own.find((sidecar) => sidecar.selector.size === 0) ??
    inNamespace(snapshot.sidecars, snapshot.settings.rootNamespace).find((sidecar) => sidecar.selector.size === 0)
  );
});

/** The workloads that a policy of a namespace may hold for, by the namespace alone: those in it, or of the root namespace all. */
export const workloadsInReach = narrow(({ settings, workloads }, namespace: string): readonly Workload[] =>
  namespace === settings.rootNamespace ? [...workloads.values()] : workloadsIn(workloads, namespace),
);

/** The objects of a list that hold for a workload, of its own namespace and of the root namespace, oldest first. */
export function holdingFor<T extends { readonly meta: ObjectMeta }>(
  snapshot: MeshSnapshot,
  list: readonly T[],
  workload: Workload,
  holds: (item: T) => boolean,
): readonly T[] {
  const { rootNamespace } = snapshot.settings;
  const own = inNamespace(list, workload.namespace).filter(holds);
  if (workload.namespace === rootNamespace) return own;
  const root = inNamespace(list, rootNamespace).filter(holds);
  return root.length === 0 ? own : [...own, ...root].sort(byAge);
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
