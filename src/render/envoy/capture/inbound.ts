/** The one inbound listener of a captured workload: whatever port was called, the same chains as at a port of its own. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { CapturePolicy, InboundListener, WorkloadPolicy } from "../../../compile/workload-policy.ts";
import { TrafficDirection } from "../../../gen/envoy/config/core/v3/base_pb.js";
import type { ListenerFilterChainMatchPredicateSchema } from "../../../gen/envoy/config/listener/v3/listener_components_pb.js";
import { type Listener, ListenerSchema } from "../../../gen/envoy/config/listener/v3/listener_pb.js";
import { TlsInspectorSchema } from "../../../gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { refusedInboundLog } from "../access-log.ts";
import { namedConfig } from "../any.ts";
import { inboundChains } from "../inbound.ts";
import { ALONE } from "../listener.ts";
import { CAPTURE_INBOUND_PORT } from "../names.ts";
import { type FilterChainInit, noLoops, ORIGINAL_DESTINATION } from "./chains.ts";
import { INBOUND_PASSTHROUGH } from "./clusters.ts";
import { ANY, boundFor, ownFamilies } from "./own-address.ts";

/** Of a port that no service declares: its bytes are opaque, so policies hold for it as for TCP (XD-6). */
function undeclared(policy: WorkloadPolicy, name: string, mtls: InboundListener["mtls"]): InboundListener {
  const endpoint = { kind: "tcp", host: policy.address, port: 0 } as const;
  return { name, bind: policy.address, port: 0, protocol: "tcp", mtls, endpoint, services: [] };
}

function otherChains(policy: WorkloadPolicy, { otherPorts }: CapturePolicy): readonly FilterChainInit[] {
  const declared = new Set(policy.inbound.map(({ port }) => port));
  const own = otherPorts.ports
    .filter(({ port }) => !declared.has(port))
    .flatMap(({ port, mtls }) =>
      inboundChains(policy, undeclared(policy, `inbound_${port}`, mtls), { destinationPort: port, cluster: INBOUND_PASSTHROUGH }),
    );
  return [...own, ...inboundChains(policy, undeclared(policy, "inbound_other", otherPorts.mtls), { cluster: INBOUND_PASSTHROUGH })];
}

type Predicate = MessageInitShape<typeof ListenerFilterChainMatchPredicateSchema>;

function atPort(port: number): Predicate {
  return { rule: { case: "destinationPortRange", value: { start: port, end: port + 1 } } };
}

/** The client's first bytes are not waited for where they say nothing: only plaintext is taken there, and the server may begin. */
function tlsInspector({ inbound }: WorkloadPolicy, { otherPorts }: CapturePolicy) {
  const ports = new Map([...otherPorts.ports, ...inbound].map(({ port, mtls }) => [port, mtls]));
  const [first, ...others] = [...ports].filter(([, mtls]) => mtls === "DISABLE").map(([port]) => atPort(port));
  const filter = namedConfig("envoy.filters.listener.tls_inspector", TlsInspectorSchema, {});
  if (first === undefined) return filter;
  const either: Predicate = { rule: { case: "orMatch", value: { rules: [first, ...others] } } };
  return { ...filter, filterDisabled: others.length === 0 ? first : either };
}

/** None for a workload that is not captured. */
export function capturedInbound(policy: WorkloadPolicy): readonly Listener[] {
  const { capture, inbound } = policy;
  if (capture === undefined) return [];
  const log = "virtualInbound";
  const declared = inbound.flatMap((listener) => inboundChains(policy, listener, { destinationPort: listener.port }));
  const filterChains = [...noLoops(log), ...declared, ...otherChains(policy, capture)];
  return boundFor(ownFamilies(policy), log, ANY, CAPTURE_INBOUND_PORT).map(({ name, address }) =>
    create(ListenerSchema, {
      name,
      statPrefix: name,
      address,
      ...ALONE,
      trafficDirection: TrafficDirection.INBOUND,
      listenerFilters: [ORIGINAL_DESTINATION, tlsInspector(policy, capture)],
      filterChains,
      accessLog: [refusedInboundLog(log)],
    }),
  );
}
