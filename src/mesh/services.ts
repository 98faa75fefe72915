/** Names and ports of services. */
import type { EgressHost, Selector, ServiceObject, ServicePort } from "../policy/model.ts";
import type { MeshSettings, Workload } from "./snapshot.ts";

/** `NAMESPACE/NAME`. */
export function serviceKey(service: ServiceObject): string {
  return `${service.meta.namespace}/${service.meta.name}`;
}

/** The labels by which it selects the workloads of a cluster; `cluster` is undefined for the configuration's own. */
export function selectorIn(service: ServiceObject, cluster: string | undefined): Selector {
  return (cluster === undefined ? undefined : service.elsewhere?.get(cluster)?.selector) ?? service.selector;
}

/** The virtual addresses by which clients in a cluster call it: each cluster gives out its own, and another's mean nothing there. */
export function addressesIn({ addresses, elsewhere }: ServiceObject, cluster: string | undefined): readonly string[] {
  return (cluster === undefined ? addresses : elsewhere?.get(cluster)?.addresses) ?? [];
}

/** `NAME.NAMESPACE.svc.DOMAIN`. */
export function serviceHost({ clusterDomain }: MeshSettings, { meta }: ServiceObject): string {
  return `${meta.name}.${meta.namespace}.svc.${clusterDomain}`;
}

/**
 * The workload's port behind a service's port. Of a pod: the target port, by number or by the name that a container gives it. Of a
 * WorkloadEntry: the entry of its `ports` with the name of the target or of the service port, else the target port's number.
 * Undefined where the target is a name that the workload does not have.
 */
export function workloadPortOf(port: ServicePort, workload: Workload): number | undefined {
  const { name, targetPort } = port;
  if (workload.kind === "Pod") return typeof targetPort === "string" ? workload.ports.get(targetPort) : targetPort;
  if (typeof targetPort === "string") return workload.ports.get(targetPort) ?? workload.ports.get(name);
  return workload.ports.get(name) ?? targetPort;
}

/** Whether a host is the pattern's: `*`, `*.SUFFIX` or a whole name. */
export function hostMatches(pattern: string, host: string): boolean {
  if (pattern === "*") return true;
  return pattern.startsWith("*.") ? host.endsWith(pattern.slice(1)) : pattern === host;
}

/** Whether an egress host of a Sidecar in `ownNamespace` names the service. */
export function egressHostMatches(
  host: EgressHost,
  ownNamespace: string,
  service: { readonly namespace: string; readonly host: string },
): boolean {
  const namespace = host.namespace === "." ? ownNamespace : host.namespace;
  if (namespace === "~" || (namespace !== "*" && namespace !== service.namespace)) return false;
  return hostMatches(host.host, service.host);
}
