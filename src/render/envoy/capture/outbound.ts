/**
 * Outbound listeners of a captured workload. All that its application sends comes to one port, from which Envoy hands
 * each connection to the listener with its destination's address and port, or else with its port, or else keeps it:
 *
 * | listener               | whose connections                                                                     |
 * |------------------------|---------------------------------------------------------------------------------------|
 * | `outbound_VIP_PORT`    | those to a service's own address                                                      |
 * | `outbound_any_PORT`    | where something besides addresses counts at a port: blocks, names, ports of their own |
 * | `virtualOutbound`      | all others: to peers by their addresses, and to who knows whom                        |
 */
import { create } from "@bufbuild/protobuf";
import type {
  CapturedService,
  CapturePolicy,
  OutboundListener,
  UpstreamService,
  WorkloadPolicy,
} from "../../../compile/workload-policy.ts";
import { TrafficDirection } from "../../../gen/envoy/config/core/v3/base_pb.js";
import { type Listener, ListenerSchema } from "../../../gen/envoy/config/listener/v3/listener_pb.js";
import { TlsInspectorSchema } from "../../../gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { duration, namedConfig } from "../any.ts";
import { toAddress } from "../cluster.ts";
import { ALONE } from "../listener.ts";
import { CAPTURE_OUTBOUND_PORT } from "../names.ts";
import { outboundClient, outboundFilters } from "../outbound.ts";
import { outboundClusterName } from "../outbound-cluster.ts";
import { byAuthority } from "./by-authority.ts";
import { destinations, type FilterChainInit, noLoops, opaqueChain, peerChains, unknownCluster } from "./chains.ts";
import { isIpv6 } from "./own-address.ts";

function isBlock(address: string): boolean {
  return address.includes("/");
}

/** A listener that no socket is bound for: it is only ever handed connections. */
function handedListener(name: string, host: string, port: number) {
  const address = toAddress({ kind: "tcp", host, port });
  return { name, statPrefix: name, address, bindToPort: false, trafficDirection: TrafficDirection.OUTBOUND } as const;
}

// === Services by their addresses ===

function serviceListener(policy: WorkloadPolicy, service: UpstreamService, host: string): Listener {
  const { port, protocol } = service;
  const name = `outbound_${host}_${port}`;
  const listener: OutboundListener = { name, bind: { kind: "tcp", host, port }, protocol, services: [service] };
  return create(ListenerSchema, {
    ...handedListener(name, host, port),
    filterChains: [{ filters: [...outboundFilters(outboundClient(policy), listener)] }],
  });
}

// === Ports at which more than addresses counts ===

/** A client that sends nothing is not kept waiting: a protocol may begin with the server. */
const LOOK_SECONDS = 5;

function blockChains(policy: WorkloadPolicy, name: string, services: readonly CapturedService[]): readonly FilterChainInit[] {
  return services.flatMap(({ addresses, upstream }) => {
    const blocks = addresses.filter(isBlock);
    if (blocks.length === 0) return [];
    const listener: OutboundListener = {
      name,
      bind: { kind: "tcp", host: "", port: upstream.port },
      protocol: upstream.protocol,
      services: [upstream],
    };
    const filters = [...outboundFilters(outboundClient(policy), listener)];
    return [{ name: `blocks ${outboundClusterName(upstream)}`, filterChainMatch: destinations(blocks), filters }];
  });
}

/** TLS that the application speaks itself, by the server that it names. */
function serverNameChains(name: string, services: readonly CapturedService[]): readonly FilterChainInit[] {
  return services
    .filter(({ addresses, upstream }) => addresses.length === 0 && upstream.protocol === "tcp")
    .map(({ upstream }) => opaqueChain(name, outboundClusterName(upstream), { serverNames: [upstream.host], transportProtocol: "tls" }));
}

function portListener(policy: WorkloadPolicy, capture: CapturePolicy, port: number): Listener {
  const name = `outbound_any_${port}`;
  const own = capture.services.filter(({ upstream }) => upstream.port === port);
  const taken = new Set(own.flatMap(({ addresses }) => addresses));
  const named = own
    .filter(({ addresses, upstream }) => addresses.length === 0 && upstream.protocol !== "tcp")
    .map(({ upstream }) => upstream);
  const http = named.length === 0 ? [] : [byAuthority(policy, capture, name, named)];
  return create(ListenerSchema, {
    ...handedListener(name, isIpv6(policy.address) ? "::" : "0.0.0.0", port),
    listenerFilters: [namedConfig("envoy.filters.listener.tls_inspector", TlsInspectorSchema, {})],
    listenerFiltersTimeout: duration(LOOK_SECONDS),
    continueOnListenerFiltersTimeout: true,
    filterChains: [...blockChains(policy, name, own), ...peerChains(name, capture, port, taken), ...serverNameChains(name, own), ...http],
    defaultFilterChain: opaqueChain(name, unknownCluster(capture)),
  });
}

function portsOfTheirOwn({ services, peers }: CapturePolicy): readonly number[] {
  const ofServices = services
    .filter(({ addresses }) => addresses.length === 0 || addresses.some(isBlock))
    .map(({ upstream }) => upstream.port);
  const ofPeers = peers.flatMap(({ port }) => (port === undefined ? [] : [port]));
  return [...new Set([...ofServices, ...ofPeers])].sort((left, right) => left - right);
}

// === Everything else ===

/** Bound on loopback: the application is redirected there, and nobody else can come. */
function virtualListener(policy: WorkloadPolicy, capture: CapturePolicy): Listener {
  const name = "virtualOutbound";
  return create(ListenerSchema, {
    name,
    statPrefix: name,
    address: toAddress({ kind: "tcp", host: isIpv6(policy.address) ? "::1" : "127.0.0.1", port: CAPTURE_OUTBOUND_PORT }),
    ...ALONE,
    useOriginalDst: true,
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: [...noLoops(name), ...peerChains(name, capture, undefined)],
    defaultFilterChain: opaqueChain(name, unknownCluster(capture)),
  });
}

/** None for a workload that is not captured. */
export function capturedOutbound(policy: WorkloadPolicy): readonly Listener[] {
  const { capture } = policy;
  if (capture === undefined) return [];
  const services = capture.services.flatMap(({ addresses, upstream }) =>
    addresses.filter((address) => !isBlock(address)).map((address) => serviceListener(policy, upstream, address)),
  );
  return [virtualListener(policy, capture), ...services, ...portsOfTheirOwn(capture).map((port) => portListener(policy, capture, port))];
}
