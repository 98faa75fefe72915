/** Parts of listeners that captured connections come to: told by where they were going. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CapturePolicy, PeerTransport } from "../../../compile/workload-policy.ts";
import type { FilterChainMatchSchema, FilterChainSchema } from "../../../gen/envoy/config/listener/v3/listener_components_pb.js";
import { OriginalDstSchema } from "../../../gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js";
import { parseIpBlock } from "../../../policy/ip-block.ts";
import { refusedOutboundTcpLog } from "../access-log.ts";
import { namedConfig } from "../any.ts";
import { CAPTURE_INBOUND_PORT, CAPTURE_OUTBOUND_PORT } from "../names.ts";
import { outboundTcp } from "../tcp-proxy.ts";
import { BLACK_HOLE, PASSTHROUGH, peerCluster } from "./clusters.ts";

export type FilterChainInit = MessageInitShape<typeof FilterChainSchema>;

/** Puts back where the connection was going (SO_ORIGINAL_DST). */
export const ORIGINAL_DESTINATION = namedConfig("envoy.filters.listener.original_dst", OriginalDstSchema, {});

/** Addresses and blocks as a filter chain matches them. */
export function destinations(addresses: readonly string[]): MessageInitShape<typeof FilterChainMatchSchema> {
  const prefixRanges = addresses.map((text) => {
    const [addressPrefix = ""] = text.split("/");
    return { addressPrefix, prefixLen: parseIpBlock(text).prefix };
  });
  return { prefixRanges };
}

/** Bytes as they are, to one cluster. */
export function opaqueChain(listener: string, cluster: string, match?: MessageInitShape<typeof FilterChainMatchSchema>): FilterChainInit {
  const filters = [outboundTcp({ name: listener, cluster, accessLog: refusedOutboundTcpLog(listener) })];
  return match === undefined ? { name: cluster, filters } : { name: cluster, filters, filterChainMatch: match };
}

/** Of a destination that nothing describes. */
export function unknownCluster({ unknown }: Pick<CapturePolicy, "unknown">): string {
  return unknown === "ALLOW_ANY" ? PASSTHROUGH : BLACK_HOLE;
}

/** Whoever connects to the proxy's own ports, rather than being redirected there, would be sent there again, for ever. */
export function noLoops(listener: string): readonly FilterChainInit[] {
  return [CAPTURE_OUTBOUND_PORT, CAPTURE_INBOUND_PORT].map((destinationPort) => ({
    ...opaqueChain(listener, BLACK_HOLE, { destinationPort }),
    name: `no-loop-${destinationPort}`,
  }));
}

/** Peers at a port, or at all ports that have no listener of their own: a chain for each way in which they are spoken to. */
export function peerChains(
  listener: string,
  { peers }: Pick<CapturePolicy, "peers">,
  port: number | undefined,
  taken: ReadonlySet<string> = new Set(),
): readonly FilterChainInit[] {
  const transports = new Map<string, PeerTransport>();
  for (const peer of peers) if (peer.port === undefined) for (const address of peer.addresses) transports.set(address, peer.transport);
  for (const peer of peers) {
    if (peer.port !== undefined && peer.port === port) for (const address of peer.addresses) transports.set(address, peer.transport);
  }
  const clusters = new Map<string, string[]>();
  for (const [address, transport] of transports) {
    if (taken.has(address)) continue;
    const name = peerCluster(transport);
    clusters.set(name, [...(clusters.get(name) ?? []), address]);
  }
  return [...clusters].map(([cluster, addresses]) => opaqueChain(listener, cluster, destinations(addresses.sort())));
}
