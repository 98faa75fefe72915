/** The proxy's connections to its own application, which must not come back to it. */
import type { WorkloadPolicy } from "../../../compile/workload-policy.ts";
import { toAddress } from "../cluster.ts";

/** Istio's source addresses of such connections: the rules of `garrison capture` let what comes from there pass. */
const PASSTHROUGH_SOURCE = { ipv4: "127.0.0.6", ipv6: "::6" } as const;

export function isIpv6(address: string): boolean {
  return address.includes(":");
}

/** Of a cluster: connections to the captured workload's own address come from one that is not captured again. */
export function towardsApplication({ capture, address }: WorkloadPolicy, host: string) {
  if (capture === undefined || host !== address) return {};
  const source = isIpv6(address) ? PASSTHROUGH_SOURCE.ipv6 : PASSTHROUGH_SOURCE.ipv4;
  const { address: socket } = toAddress({ kind: "tcp", host: source, port: 0 });
  return socket.case === "socketAddress" ? { upstreamBindConfig: { sourceAddress: socket.value } } : {};
}
