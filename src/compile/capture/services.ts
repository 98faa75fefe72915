/** Services by the addresses at which captured traffic calls them. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { autoAddressesOf, type Families } from "../../mesh/auto-addresses.ts";
import type { Client } from "../../mesh/destination-rules.ts";
import { podAt } from "../../mesh/endpoint-slices.ts";
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

/** Whose calls are captured. */
interface Caller {
  readonly client: Client;
  /** Undefined for the configuration's own. */
  readonly cluster: string | undefined;
  /** The families of the addresses that services without one are given; undefined where they are given none. */
  readonly given: Families | undefined;
}

function addressesOf({ service, entry }: MeshService, cluster: string | undefined): readonly string[] {
  return service === undefined ? (entry?.addresses ?? []) : addressesIn(service, cluster);
}

/** A Service that selects nothing and of which nobody says where it is: what is called there is none of the mesh's affair. */
function isElsewhere(snapshot: MeshSnapshot, { service, ports }: KnownService): boolean {
  if (service.service === undefined || service.service.selector.size > 0) return false;
  return ports.every((port) => endpointsOf(snapshot, service, port).length === 0);
}

/** Services have their addresses of the cluster. What else somebody writes counts first in his own namespace, and else by its age. */
function byRight(known: readonly KnownService[], { namespace }: Client): readonly KnownService[] {
  const rank = ({ service: { entry, namespace: owner } }: KnownService): number => (entry === undefined ? 0 : owner === namespace ? 1 : 2);
  return known.toSorted((left, right) => rank(left) - rank(right));
}

/** The pod of another namespace that has an address which an entry claims: what is called there is for it. */
function podOfOthers(snapshot: MeshSnapshot, { entry, namespace }: MeshService, address: string): string | undefined {
  const pod = entry === undefined ? undefined : podAt(snapshot, address);
  return pod === undefined || pod.namespace === namespace ? undefined : pod.key;
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
 * Each port once, and each address and port to one service, the first by right: nothing in a connection says which
 * of two was meant. An entry without an address is told by its name, and by the address that it is given; of headless
 * Services the pods are told (`peers.ts`).
 */
export function capturedServices(
  snapshot: MeshSnapshot,
  { client, cluster, given }: Caller,
  known: readonly KnownService[],
): CapturedServices {
  const owners = new Map<string, string>();
  const services: CapturedService[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const each of byRight(known, client).filter((candidate) => !isElsewhere(snapshot, candidate))) {
    const { service, ports } = each;
    const declared = addressesOf(service, cluster);
    const own = given === undefined ? [] : autoAddressesOf(snapshot, service, given);
    for (const port of ports) {
      const free = declared.filter((address) => {
        const owner = owners.get(`${address} ${port.port}`) ?? podOfOthers(snapshot, service, address);
        if (owner !== undefined) diagnostics.push(claimed(service, `${address}:${port.port}`, owner));
        else owners.set(`${address} ${port.port}`, service.key);
        return owner === undefined;
      });
      const isNamed = declared.length === 0 && service.service === undefined;
      if (free.length === 0 && own.length === 0 && !isNamed) continue;
      const { upstream, diagnostics: told } = toUpstream(snapshot, client, { service, port });
      if (own.length > 0) services.push({ addresses: own, upstream });
      if (free.length > 0 || isNamed) services.push({ addresses: free, upstream });
      diagnostics.push(...told);
    }
  }
  return { services, diagnostics };
}
