/** The proxy's connections to its own application, which must not come back to it. */
import type { WorkloadPolicy } from "../../../compile/workload-policy.ts";
import type { Address } from "../../../gen/envoy/config/core/v3/address_pb.js";
import { type AddressFamily, familyOf } from "../../../mesh/auto-addresses.ts";
import { addressesOf } from "../../../mesh/snapshot.ts";
import { toAddress } from "../cluster.ts";

/** Istio's source addresses of such connections: the rules of `garrison capture` let what comes from there pass. */
const PASSTHROUGH_SOURCE = { ipv4: "127.0.0.6", ipv6: "::6" } as const;

function socketAddress(address: string, portValue: number) {
  return { address, portSpecifier: { case: "portValue", value: portValue } } as const;
}

/** Of a cluster: connections to the captured workload's own addresses come from one that is not captured again, of the same family. */
export function towardsApplication({ capture, address, secondAddress }: WorkloadPolicy, host: string) {
  if (capture === undefined || (host !== address && host !== secondAddress)) return {};
  const source = (own: string) => socketAddress(PASSTHROUGH_SOURCE[familyOf(own)], 0);
  const extra = secondAddress === undefined ? {} : { extraSourceAddresses: [{ address: source(secondAddress) }] };
  return { upstreamBindConfig: { sourceAddress: source(address), ...extra } };
}

// === Where captured connections arrive ===

/** Any address, and the loopback, of each family. */
export const ANY = { ipv4: "0.0.0.0", ipv6: "::" } as const;
export const LOOPBACK = { ipv4: "127.0.0.1", ipv6: "::1" } as const;

function at(host: string, port: number) {
  return { address: toAddress({ kind: "tcp", host, port }) };
}

/** The families of a workload's own addresses, its first one's first. */
export function ownFamilies(workload: Pick<WorkloadPolicy, "address" | "secondAddress">): readonly AddressFamily[] {
  return addressesOf(workload).map(familyOf);
}

/** Of a listener that is only ever handed connections: any address of each family. */
export function anyAddress([first = "ipv4", ...others]: readonly AddressFamily[], port: number) {
  const more = others.length === 0 ? {} : { additionalAddresses: others.map((family) => at(ANY[family], port)) };
  return { ...at(ANY[first], port), ...more };
}

/** A listener that has a socket. */
export interface Bound {
  readonly name: string;
  readonly family: AddressFamily;
  readonly address: Address;
}

/**
 * One for each family. A running Envoy takes no further address for a listener whose sockets are bound, since it would bind the first again; so a
 * workload's second family has a listener of its own, and nothing changes for the first.
 */
export function boundFor(
  families: readonly AddressFamily[],
  name: string,
  hosts: Readonly<Record<AddressFamily, string>>,
  port: number,
): readonly Bound[] {
  return families.map((family, index) => ({ name: index === 0 ? name : `${name}_${family}`, family, ...at(hosts[family], port) }));
}
