/** Which services captured traffic knows: all that the workload sees, or what its Sidecar names. */
import { type MeshService, visibleServices } from "../../mesh/registry.ts";
import { egressHostMatches } from "../../mesh/services.ts";
import type { MeshSnapshot } from "../../mesh/snapshot.ts";
import type { EgressHost, ServicePort, SidecarObject } from "../../policy/model.ts";

/** A service with those of its ports that are known. */
export interface KnownService {
  readonly service: MeshService;
  readonly ports: readonly ServicePort[];
}

/** Hosts by the port that they are named for; undefined stands for all other ports. */
type HostsOfPort = ReadonlyMap<number | undefined, readonly EgressHost[]>;

/** A Sidecar that says nothing of egress leaves everything known, as in Istio. */
function hostsOf(sidecar: SidecarObject | undefined): HostsOfPort | undefined {
  const { egress = [], scopes = [] } = sidecar ?? {};
  if (egress.length === 0 && scopes.length === 0) return undefined;
  const hosts = new Map<number | undefined, readonly EgressHost[]>();
  if (scopes.length > 0)
    hosts.set(
      undefined,
      scopes.flatMap((scope) => scope.hosts),
    );
  for (const { capturable, port, hosts: own } of egress) {
    if (capturable) hosts.set(port.number, [...(hosts.get(port.number) ?? []), ...own]);
  }
  return hosts;
}

/** Whether nothing narrows down what the workload knows. */
export function knowsEverything(sidecar: SidecarObject | undefined): boolean {
  return hostsOf(sidecar) === undefined;
}

/** The services that a captured workload of a namespace reaches, each with the ports that it may. */
export function knownServices(snapshot: MeshSnapshot, sidecar: SidecarObject | undefined, namespace: string): readonly KnownService[] {
  const hosts = hostsOf(sidecar);
  const visible = visibleServices(snapshot, namespace);
  if (hosts === undefined) return visible.map((service) => ({ service, ports: service.ports }));
  return visible.flatMap((service) => {
    const named = (port: number) => hosts.get(port) ?? hosts.get(undefined) ?? [];
    const ports = service.ports.filter(({ port }) => named(port).some((host) => egressHostMatches(host, namespace, service)));
    return ports.length === 0 ? [] : [{ service, ports }];
  });
}
