/** What an agent must know to start beside a workload. */
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { meshServices } from "../mesh/registry.ts";
import type { MeshView } from "./mesh-state.ts";

/** An egress listener on TCP that leads to one service, for Kubernetes' service variables. */
export interface EgressSummary {
  readonly service: string;
  readonly host: string;
  readonly port: number;
  readonly portName?: string;
}

export interface WorkloadSummary {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** `NAMESPACE/NAME`. */
  readonly serviceAccount: string;
  /** A SPIFFE ID. */
  readonly identity: string;
  readonly address: string;
  readonly egress: readonly EgressSummary[];
  /** Whether its agent is to answer its questions of DNS. */
  readonly dnsCapture: boolean;
  /** Where its proxy accepts peers. */
  readonly ingress: readonly { readonly name: string; readonly host: string; readonly port: number }[];
}

/** Egress in the order of each service's own ports, since the first is its `_SERVICE_PORT`. */
function egressOf(mesh: MeshView, workload: string): readonly EgressSummary[] {
  const order = meshServices(mesh.snapshot).flatMap(({ key, ports }) => ports.map(({ port }) => `${key}:${port}`));
  const found = (mesh.policies.get(workload)?.outbound ?? []).flatMap(({ bind, services }) => {
    const [only] = services;
    if (bind.kind !== "tcp" || only === undefined || services.length > 1) return [];
    const [, service = ""] = only.service.split("/");
    const portName = only.portName === undefined || only.portName === "" ? {} : { portName: only.portName };
    return [{ rank: order.indexOf(`${only.service}:${only.port}`), summary: { service, host: bind.host, port: bind.port, ...portName } }];
  });
  return found.sort((left, right) => left.rank - right.rank).map(({ summary }) => summary);
}

function listenersOf(mesh: MeshView, workload: string): readonly { readonly name: string; readonly bind: string; readonly port: number }[] {
  const policy = mesh.policies.get(workload);
  return [...(policy?.inbound ?? []), ...(policy?.gateway?.listeners ?? [])];
}

/** Every workload of the mesh. */
export function workloadSummaries(mesh: MeshView): readonly WorkloadSummary[] {
  return [...mesh.snapshot.workloads.values()].map(({ key, namespace, serviceAccount, identity, address, dnsCapture = false }) => ({
    workload: key,
    serviceAccount: `${namespace}/${serviceAccount}`,
    identity,
    address,
    egress: egressOf(mesh, key),
    dnsCapture,
    ingress: listenersOf(mesh, key).map(({ name, bind, port }) => ({ name, host: bind, port })),
  }));
}

/** `NAMESPACE/NAME` of the service of an inbound listener, or of a port of the listener that all ports of a captured workload share; or empty. */
export function serviceAt(policy: WorkloadPolicy | undefined, listener: string, at: number): string {
  const shared = policy?.capture !== undefined && !policy.inbound.some(({ name }) => name === listener);
  return policy?.inbound.find(({ name, port }) => (shared ? port === at : name === listener))?.services[0] ?? "";
}
