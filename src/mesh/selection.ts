/** Which objects hold for which workload: by namespace, root namespace and labels. */
import type { ObjectMeta, Selector, ServiceObject, SidecarObject, TargetRef } from "../policy/model.ts";
import { inNamespace, workloadsIn } from "./by-namespace.ts";
import { mergedByAge } from "./order.ts";
import { narrow } from "./recording.ts";
import { selectorIn } from "./services.ts";
import type { MeshSnapshot, Workload } from "./snapshot.ts";

/** Whether every label of the selector is on the workload; an empty selector selects all. */
export function selectorMatches(selector: Selector, labels: ReadonlyMap<string, string>): boolean {
  for (const [key, value] of selector) if (labels.get(key) !== value) return false;
  return true;
}

/** The workloads of a namespace, in the order of the mesh's. */
export const workloadsOfNamespace = narrow(({ workloads }, namespace: string): readonly Workload[] => workloadsIn(workloads, namespace));

/** Workloads that a Service selects: same namespace, non-empty selector (a Service without one selects nothing). */
export const workloadsOfService = narrow((snapshot, service: ServiceObject): readonly Workload[] => {
  const all = workloadsOfNamespace(snapshot, service.meta.namespace);
  return all.filter((workload) => {
    const selector = selectorIn(service, workload.cluster);
    return selector.size > 0 && selectorMatches(selector, workload.labels);
  });
});

/** The snapshot's lists of objects that hold for workloads. */
type Lists = {
  readonly [Field in keyof MeshSnapshot as MeshSnapshot[Field] extends readonly { readonly meta: ObjectMeta }[]
    ? Field
    : never]: MeshSnapshot[Field];
};

const listIn = narrow((snapshot, field: keyof Lists, namespace: string) =>
  inNamespace<Lists[keyof Lists][number]>(snapshot[field], namespace),
);

/** The objects of one of the snapshot's lists that are in a namespace, in the list's order: a dependency on these alone. */
export function objectsIn<Field extends keyof Lists>(snapshot: MeshSnapshot, field: Field, namespace: string): Lists[Field] {
  return listIn(snapshot, field, namespace) as Lists[Field];
}

/** The namespace whose objects hold for the whole mesh. */
export const rootNamespaceOf = narrow(({ settings }): string => settings.rootNamespace);

/** The Sidecar in force: the narrowest of workload, namespace and root namespace; the oldest of several. */
export const sidecarOf = narrow((snapshot, workload: Workload): SidecarObject | undefined => {
  const own = objectsIn(snapshot, "sidecars", workload.namespace);
  return (
    own.find((sidecar) => sidecar.selector.size > 0 && selectorMatches(sidecar.selector, workload.labels)) ??
    own.find((sidecar) => sidecar.selector.size === 0) ??
    objectsIn(snapshot, "sidecars", rootNamespaceOf(snapshot)).find((sidecar) => sidecar.selector.size === 0)
  );
});

/** The workloads that a policy of a namespace may hold for, by the namespace alone: those in it, or of the root namespace all. */
export const workloadsInReach = narrow((snapshot, namespace: string): readonly Workload[] =>
  namespace === rootNamespaceOf(snapshot) ? [...snapshot.workloads.values()] : workloadsOfNamespace(snapshot, namespace),
);

/** The objects of a list that hold for a workload, of its own namespace and of the root namespace, oldest first. */
export function holdingFor<Field extends keyof Lists>(
  snapshot: MeshSnapshot,
  field: Field,
  workload: Workload,
  holds: (item: Lists[Field][number]) => boolean,
): readonly Lists[Field][number][] {
  const rootNamespace = rootNamespaceOf(snapshot);
  const own = objectsIn(snapshot, field, workload.namespace).filter(holds);
  if (workload.namespace === rootNamespace) return own;
  const root = objectsIn(snapshot, field, rootNamespace).filter(holds);
  if (root.length === 0) return own;
  return own.length === 0 ? root : mergedByAge(own, root);
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
  const inScope = meta.namespace === workload.namespace || meta.namespace === rootNamespaceOf(snapshot);
  return inScope && selectorMatches(selector, workload.labels);
}
