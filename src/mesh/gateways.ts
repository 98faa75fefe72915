/** Which workloads are gateways, and where their servers listen. */
import type { GatewayServer } from "../policy/gateway.ts";
import type { GatewayObject } from "../policy/model.ts";
import { narrow } from "./recording.ts";
import { objectsIn, selectorMatches } from "./selection.ts";
import { workloadPortOf } from "./services.ts";
import type { MeshSnapshot, Workload } from "./snapshot.ts";

/** A server with the Gateway that it is of. */
export interface PlacedServer {
  readonly gateway: GatewayObject;
  readonly server: GatewayServer;
  /** The address and the port where it listens. */
  readonly bind: string;
  readonly port: number;
}

/** `NAMESPACE/NAME`. */
export function gatewayKey({ meta }: GatewayObject): string {
  return `${meta.namespace}/${meta.name}`;
}

/**
 * The Gateways that a workload serves, oldest first: those of its namespace that select it, and those of others if it is
 * declared to be a gateway; else anybody who knows a workload's labels could open ports on it.
 */
export const gatewaysOf = narrow((snapshot, workload: Workload): readonly GatewayObject[] =>
  snapshot.gateways.filter(
    ({ meta, selector }) => (meta.namespace === workload.namespace || workload.isGateway) && selectorMatches(selector, workload.labels),
  ),
);

/** A server's port is that of the Service in front of the gateway, as in Istio; where no Service has it, the port itself. */
const listeningPort = narrow((snapshot, workload: Workload, port: number): number => {
  for (const { selector, ports } of objectsIn(snapshot, "services", workload.namespace)) {
    if (selector.size === 0 || !selectorMatches(selector, workload.labels)) continue;
    const found = ports.find((candidate) => candidate.port === port);
    const target = found === undefined ? undefined : workloadPortOf(found, workload);
    if (target !== undefined) return target;
  }
  return port;
});

/** The servers of a workload's Gateways; none for a workload that is no gateway. */
export function serversOf(snapshot: MeshSnapshot, workload: Workload): readonly PlacedServer[] {
  return gatewaysOf(snapshot, workload).flatMap((gateway) =>
    gateway.servers.map((server) => ({
      gateway,
      server,
      bind: server.bind ?? workload.address,
      port: listeningPort(snapshot, workload, server.port),
    })),
  );
}
