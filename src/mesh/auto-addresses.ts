/**
 * Addresses for services that have none of their own, so that captured traffic can tell them (Istio's auto-allocation). They lead
 * nowhere but to the proxy. Each follows from the service's own name and, where two names meet, from who was there first: every
 * replica and every start gives out the same ones.
 */
import { narrow } from "./recording.ts";
import { type MeshService, meshServices } from "./registry.ts";
import type { MeshSnapshot, Workload } from "./snapshot.ts";

export type AddressFamily = "ipv4" | "ipv6";

/** Of an address that is one. */
export function familyOf(address: string): AddressFamily {
  return address.includes(":") ? "ipv6" : "ipv4";
}

/** Of addresses that a workload can use: of one family, or `dual`. */
export type Families = AddressFamily | "dual";

/** Those of a workload's own addresses. */
export function familiesOf({ address, secondAddress }: Pick<Workload, "address" | "secondAddress">): Families {
  return secondAddress === undefined ? familyOf(address) : "dual";
}

/** Of 240.240.0.0/16 those that end neither in 0 nor in 255, as in Istio. */
const LAST_BYTES = 254;
const CAPACITY = 256 * LAST_BYTES;
/** A prime that divides neither, so that every step from any place comes to every other. */
const STEP = 7;

/** FNV-1a of 32 bits: no secret is in it, and whoever finds two names that meet moves the younger one only. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash ^= text.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193);
  }
  return hash >>> 0;
}

function format(place: number, family: AddressFamily): string {
  const [third, fourth] = [Math.trunc(place / LAST_BYTES), (place % LAST_BYTES) + 1];
  return family === "ipv4" ? `240.240.${third}.${fourth}` : `2001:2::f0f0:${((third << 8) | fourth).toString(16)}`;
}

/** Istio's label of a ServiceEntry: `false` leaves it without. */
const WANTED = "networking.istio.io/enable-autoallocate-ip";

/** Whether nothing says an address of it, and nothing says that it is to have none. A cluster gives its Services their addresses itself. */
function needsAddress({ service, entry }: MeshService): boolean {
  if (service !== undefined) return service.bySlices !== true && service.headless !== true && service.addresses === undefined;
  return entry?.addresses === undefined && entry?.meta.labels.get(WANTED) !== "false";
}

type Own = Readonly<Record<AddressFamily, string>>;

function declaredAddresses({ services, serviceEntries }: MeshSnapshot): ReadonlySet<string> {
  return new Set([...services, ...serviceEntries].flatMap(({ addresses = [] }) => addresses));
}

/** Oldest first, so that who comes later moves nobody; equal age falls to the name. */
function inOrder(services: readonly MeshService[]): readonly MeshService[] {
  const createdAt = ({ service, entry }: MeshService): number => service?.meta.created ?? entry?.meta.created ?? 0;
  return services.toSorted((left, right) => createdAt(left) - createdAt(right) || (left.key < right.key ? -1 : 1));
}

/** By key. Where no place is left, a service stays without. */
function allocate(snapshot: MeshSnapshot): ReadonlyMap<string, Own> {
  const taken = declaredAddresses(snapshot);
  const places = new Set<number>();
  const own = new Map<string, Own>();
  for (const { key } of inOrder(meshServices(snapshot).filter(needsAddress)).slice(0, Math.max(0, CAPACITY - taken.size))) {
    let place = hashOf(key) % CAPACITY;
    while (places.has(place) || taken.has(format(place, "ipv4")) || taken.has(format(place, "ipv6"))) place = (place + STEP) % CAPACITY;
    places.add(place);
    own.set(key, { ipv4: format(place, "ipv4"), ipv6: format(place, "ipv6") });
  }
  return own;
}

/** By the mesh's services: made once for each state. */
const known = new WeakMap<readonly MeshService[], ReadonlyMap<string, Own>>();

/** The address that is given to a service; undefined for one that has an address, or is headless. */
export const autoAddressOf = narrow((snapshot, { key }: MeshService, family: AddressFamily): string | undefined => {
  const services = meshServices(snapshot);
  const addresses = known.get(services) ?? allocate(snapshot);
  known.set(services, addresses);
  return addresses.get(key)?.[family];
});

/** The same of each family. */
export function autoAddressesOf(snapshot: MeshSnapshot, service: MeshService, families: Families): readonly string[] {
  const all: readonly AddressFamily[] = families === "dual" ? ["ipv4", "ipv6"] : [families];
  return all.map((family) => autoAddressOf(snapshot, service, family)).filter((address) => address !== undefined);
}
