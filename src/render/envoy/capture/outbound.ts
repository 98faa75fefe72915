/**
 * Outbound listeners of a captured workload. All that its application sends comes to one port, from which Envoy hands
 * each connection to the listener with its destination's address and port, or else with its port, or else keeps it:
 *
 * | listener               | whose connections                                                                     |
 * |------------------------|---------------------------------------------------------------------------------------|
 * | `outbound_VIP_PORT`    | those to a service's own address                                                      |
 * | `outbound_any_PORT`    | where something besides addresses counts at a port: blocks, names, ports of their own |
 * | `virtualOutbound`      | all others: to peers by their addresses, and to who knows whom                        |
 *
 * Of a workload with addresses of both families the second has a `virtualOutbound_FAMILY` to itself, at the same port.
 */
import { create } from "@bufbuild/protobuf";
import type { CapturedService, CapturePolicy } from "../../../compile/workload-policy.ts";
import { TrafficDirection } from "../../../gen/envoy/config/core/v3/base_pb.js";
import { type Listener, ListenerSchema } from "../../../gen/envoy/config/listener/v3/listener_pb.js";
import { TlsInspectorSchema } from "../../../gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { type AddressFamily, familyOf } from "../../../mesh/auto-addresses.ts";
import { duration, namedConfig } from "../any.ts";
import { toAddress } from "../cluster.ts";
import { ALONE } from "../listener.ts";
import { CAPTURE_OUTBOUND_PORT } from "../names.ts";
import { type OutboundClient, outboundFilters, type ServiceListener } from "../outbound.ts";
import { type NamedService, outboundClusterName } from "../outbound-cluster.ts";
import { byAuthority } from "./by-authority.ts";
import { destinations, type FilterChainInit, noLoops, opaqueChain, peerChains, unknownCluster } from "./chains.ts";
import { anyAddress, type Bound, boundFor, LOOPBACK } from "./own-address.ts";

/** A service's port as captured traffic tells it, wherever it is served. */
export interface NamedCapture extends Pick<CapturedService, "addresses"> {
  readonly upstream: NamedService;
}

/** What captured workloads know that see the same. */
export interface CapturedView extends OutboundClient, Pick<CapturePolicy, "unknown" | "peers"> {
  readonly services: readonly NamedCapture[];
  /** Of their own addresses; one, or both. */
  readonly families: readonly AddressFamily[];
}

function isBlock(address: string): boolean {
  return address.includes("/");
}

/** A listener that no socket is bound for: it is only ever handed connections. */
function handedListener(name: string, at: ReturnType<typeof anyAddress>) {
  return { name, statPrefix: name, ...at, bindToPort: false, trafficDirection: TrafficDirection.OUTBOUND } as const;
}

// === Services by their addresses ===

function serviceListener(view: CapturedView, service: NamedService, host: string): Listener {
  const { port, protocol } = service;
  const name = `outbound_${host}_${port}`;
  const listener: ServiceListener = { name, bind: { kind: "tcp", host, port }, protocol, services: [service] };
  return create(ListenerSchema, {
    ...handedListener(name, { address: toAddress({ kind: "tcp", host, port }) }),
    filterChains: [{ filters: [...outboundFilters(view, listener)] }],
  });
}

// === Ports at which more than addresses counts ===

/** A client that sends nothing is not kept waiting: a protocol may begin with the server. */
const LOOK_SECONDS = 5;

function blockChains(view: CapturedView, name: string, services: readonly NamedCapture[]): readonly FilterChainInit[] {
  return services.flatMap(({ addresses, upstream }) => {
    const blocks = addresses.filter(isBlock);
    if (blocks.length === 0) return [];
    const listener: ServiceListener = {
      name,
      bind: { kind: "tcp", host: "", port: upstream.port },
      protocol: upstream.protocol,
      services: [upstream],
    };
    const filters = [...outboundFilters(view, listener)];
    return [{ name: `blocks ${outboundClusterName(upstream)}`, filterChainMatch: destinations(blocks), filters }];
  });
}

/** TLS that the application speaks itself, by the server that it names. */
function serverNameChains(name: string, services: readonly NamedCapture[]): readonly FilterChainInit[] {
  return services
    .filter(({ addresses, upstream }) => addresses.length === 0 && upstream.protocol === "tcp")
    .map(({ upstream }) => opaqueChain(name, outboundClusterName(upstream), { serverNames: [upstream.host], transportProtocol: "tls" }));
}

function portListener(view: CapturedView, port: number): Listener {
  const name = `outbound_any_${port}`;
  const own = view.services.filter(({ upstream }) => upstream.port === port);
  const taken = new Set(own.flatMap(({ addresses }) => addresses));
  const named = own
    .filter(({ addresses, upstream }) => addresses.length === 0 && upstream.protocol !== "tcp")
    .map(({ upstream }) => upstream);
  const http = named.length === 0 ? [] : [byAuthority(view, name, named)];
  return create(ListenerSchema, {
    ...handedListener(name, anyAddress(view.families, port)),
    listenerFilters: [namedConfig("envoy.filters.listener.tls_inspector", TlsInspectorSchema, {})],
    listenerFiltersTimeout: duration(LOOK_SECONDS),
    continueOnListenerFiltersTimeout: true,
    filterChains: [...blockChains(view, name, own), ...peerChains(name, view, port, taken), ...serverNameChains(name, own), ...http],
    defaultFilterChain: opaqueChain(name, unknownCluster(view)),
  });
}

function portsOfTheirOwn({ services, peers }: CapturedView): readonly number[] {
  const ofServices = services
    .filter(({ addresses }) => addresses.length === 0 || addresses.some(isBlock))
    .map(({ upstream }) => upstream.port);
  const ofPeers = peers.flatMap(({ port }) => (port === undefined ? [] : [port]));
  return [...new Set([...ofServices, ...ofPeers])].sort((left, right) => left - right);
}

// === Everything else ===

/** Of two listeners each gets connections to its own family alone. */
function peersFor({ families, peers }: CapturedView, family: AddressFamily): CapturePolicy["peers"] {
  if (families.length === 1) return peers;
  return peers.map((peer) => ({ ...peer, addresses: peer.addresses.filter((address) => familyOf(address) === family) }));
}

/** Bound on loopback: the application is redirected there, and nobody else can come. */
function virtualListener(view: CapturedView, { name, family, address }: Bound): Listener {
  return create(ListenerSchema, {
    name,
    statPrefix: name,
    address,
    ...ALONE,
    useOriginalDst: true,
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: [...noLoops(name), ...peerChains(name, { peers: peersFor(view, family) }, undefined)],
    defaultFilterChain: opaqueChain(name, unknownCluster(view)),
  });
}

/** The listeners of all captured workloads that see the same. */
export function capturedOutbound(view: CapturedView): readonly Listener[] {
  const services = view.services.flatMap(({ addresses, upstream }) =>
    addresses.filter((address) => !isBlock(address)).map((address) => serviceListener(view, upstream, address)),
  );
  const virtual = boundFor(view.families, "virtualOutbound", LOOPBACK, CAPTURE_OUTBOUND_PORT).map((bound) => virtualListener(view, bound));
  return [...virtual, ...services, ...portsOfTheirOwn(view).map((port) => portListener(view, port))];
}
