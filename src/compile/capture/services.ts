/** Services by the addresses at which captured traffic calls them. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import type { Client } from "../../mesh/destination-rules.ts";
import { endpointsOf, type MeshService } from "../../mesh/registry.ts";
import { addressesIn } from "../../mesh/services.ts";
import type { MeshSnapshot } from "../../mesh/snapshot.ts";
import { toUpstream } from "../outbound.ts";
import type { CapturedService } from "../workload-policy.ts";
import type { KnownService } from "./scope.ts";

export interface CapturedServices {
  readonly services: readonly CapturedService[];
  readonly diagnostics: readonly Diagnostic[];
}

function addressesOf({ service, entry }: MeshService, cluster: string | undefined): readonly string[] {
  return service === undefined ? (entry?.addresses ?? []) : addressesIn(service, cluster);
}

/** A Service that selects nothing and of which nobody says where it is: what is called there is none of the mesh's affair. */
function isElsewhere(snapshot: MeshSnapshot, { service, ports }: KnownService): boolean {
  if (service.service === undefined || service.service.selector.size > 0) return false;
  return ports.every((port) => endpointsOf(snapshot, service, port).length === 0);
}

function claimed(service: MeshService, address: string, owner: string): Diagnostic {
  return {
    code: "GAR0232",
    message: `captured traffic to ${address} is for \`${owner}\`, and so never for \`${service.key}\``,
    place: service.place,
    help: "give each service an address of its own",
  };
}

/**
 * Each port once, and each address and port to one service, the first of the registry: nothing in a connection says which
 * of two was meant. An entry without an address is told by its name; of headless Services the pods are (`peers.ts`). `cluster` is the client's,
 * undefined for the configuration's own.
 */
export function capturedServices(
  snapshot: MeshSnapshot,
  client: Client,
  cluster: string | undefined,
  known: readonly KnownService[],
): CapturedServices {
  const owners = new Map<string, string>();
  const services: CapturedService[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const each of known.filter((candidate) => !isElsewhere(snapshot, candidate))) {
    const { service, ports } = each;
    const declared = addressesOf(service, cluster);
    for (const port of ports) {
      const free = declared.filter((address) => {
        const owner = owners.get(`${address} ${port.port}`);
        if (owner !== undefined) diagnostics.push(claimed(service, `${address}:${port.port}`, owner));
        else owners.set(`${address} ${port.port}`, service.key);
        return owner === undefined;
      });
      if (free.length === 0 && (declared.length > 0 || service.service !== undefined)) continue;
      const { upstream, diagnostics: own } = toUpstream(snapshot, client, { service, port });
      services.push({ addresses: free, upstream });
      diagnostics.push(...own);
    }
  }
  return { services, diagnostics };
}
