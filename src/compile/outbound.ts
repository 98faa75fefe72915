/** Sidecar egress -> outbound listeners, with the identities that may answer (secure naming). */
import type { Diagnostic, Place } from "../core/diagnostic.ts";
import { InternedLists } from "../core/interned.ts";
import { type Client, clientOf, destinationRuleOf, hasDestinationRules } from "../mesh/destination-rules.ts";
import { derived, narrow } from "../mesh/recording.ts";
import { type MeshService, meshServices, reachedServices, visibleService } from "../mesh/registry.ts";
import { sidecarOf } from "../mesh/selection.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import type { DestinationRuleObject, EgressListener, Endpoint, ServicePort, SidecarObject } from "../policy/model.ts";
import { secure } from "./client-tls.ts";
import { firstOfEachName } from "./unique.ts";
import type { OutboundListener, UpstreamService } from "./workload-policy.ts";

interface Target {
  readonly service: MeshService;
  readonly port: ServicePort;
}

interface Upstream {
  readonly upstream: UpstreamService;
  readonly diagnostics: readonly Diagnostic[];
}

/** Of the client's namespace only that it has one: `namespace` is undefined where no rule is. */
const upstreamOf = derived(
  (snapshot, service: MeshService, port: ServicePort, rule: DestinationRuleObject | undefined, namespace: string | undefined): Upstream => {
    const { key, host, entry } = service;
    const { diagnostics, ...secured } = secure(snapshot, { service, port, rule, namespace });
    const resolution = entry === undefined || entry.resolution === "STATIC" ? {} : { resolution: entry.resolution };
    const upstream = { service: key, host, port: port.port, portName: port.name, protocol: port.protocol, ...resolution, ...secured };
    return { upstream, diagnostics };
  },
);

/** A service's port as the client reaches it, and what is to be told of that. An endpoint's identity is its own: never the union over the service (SN-5). */
export function toUpstream(snapshot: MeshSnapshot, client: Client | undefined, { service, port }: Target): Upstream {
  const rule = client && destinationRuleOf(snapshot, client, service);
  // What no rule changes is the same for all clients.
  return upstreamOf(snapshot, service, port, rule, rule && client?.namespace);
}

/** The port of a service by its host, as the client reaches it, or as it is said where no client is meant; undefined where there is no such service or port. */
export function findUpstream(
  snapshot: MeshSnapshot,
  client: Workload | undefined,
  { namespace, host }: { readonly namespace: string | undefined; readonly host: string },
  port: number,
): UpstreamService | undefined {
  const candidates = client === undefined ? meshServices(snapshot) : [visibleService(snapshot, client.namespace, host)];
  const service = candidates.find((one) => one?.host === host && (namespace === undefined || namespace === one.namespace));
  const servicePort = service?.ports.find((candidate) => candidate.port === port);
  return service === undefined || servicePort === undefined
    ? undefined
    : toUpstream(snapshot, client, { service, port: servicePort }).upstream;
}

/**
 * What a listener reaches: of the services that its hosts name, the ports with the listener's number (as Istio does).
 * Where there is none, and one exact host names one service, its only port or its port of the listener's name: so that
 * several workloads can share an address.
 */
function targetsOf(services: readonly MeshService[], listener: EgressListener): readonly Target[] {
  const sameNumber = services.flatMap((service) =>
    service.ports.filter(({ port }) => port === listener.port.number).map((port) => ({ service, port })),
  );
  if (sameNumber.length > 0) return sameNumber;
  const [only] = services;
  const exact = listener.hosts.length === 1 && listener.hosts.every(({ host }) => !host.includes("*"));
  if (only === undefined || services.length > 1 || !exact) return [];
  const port = only.ports.length === 1 ? only.ports[0] : only.ports.find(({ name }) => name === listener.port.name);
  return port === undefined ? [] : [{ service: only, port }];
}

function bindOf(listener: EgressListener): Endpoint {
  const { bind, port } = listener;
  return bind.kind === "address" ? { kind: "tcp", host: bind.host, port: port.number } : bind;
}

function listenerName(bind: Endpoint): string {
  return bind.kind === "tcp" ? `outbound_${bind.host}_${bind.port}` : `outbound_${bind.path}`;
}

function describe(listener: EgressListener): string {
  return `egress listener \`${listener.port.name}\` on port ${listener.port.number}`;
}

function problemOf(listener: EgressListener, targets: readonly Target[]): Diagnostic | undefined {
  const { place } = listener;
  if (targets.length === 0) {
    const help =
      "a host names services as NAMESPACE/NAME.NAMESPACE.svc.cluster.local, or NAMESPACE/HOST of a ServiceEntry, and the listener's port must be one of theirs, unless there is but one exact host";
    return { code: "GAR0102", message: `${describe(listener)} reaches no service`, place, help };
  }
  if (listener.port.protocol === "tcp" && targets.length > 1) {
    const names = targets.map(({ service }) => service.key).join(", ");
    const help = "nothing in a TCP connection tells them apart: give each service a listener of its own";
    return { code: "GAR0104", message: `${describe(listener)} is TCP and reaches several services: ${names}`, place, help };
  }
  return undefined;
}

/** By the Sidecar's egress listeners. */
type Reached = readonly (readonly MeshService[])[];

interface Outbound {
  readonly listeners: readonly OutboundListener[];
  readonly diagnostics: readonly Diagnostic[];
}

const serviceLists = new InternedLists<MeshService>();
const reachedLists = new InternedLists<readonly MeshService[]>();

/** The services that each egress listener of a Sidecar reaches from a namespace; the same list where they are the same from another. */
const reachedBy = narrow((snapshot, { egress }: SidecarObject, namespace: string) =>
  reachedLists.of(egress.map((listener) => serviceLists.of(reachedServices(snapshot, listener, namespace)))),
);

/** `client` is undefined where the mesh has no rule that could tell clients apart. Once for all that nothing does. */
const outboundBy = derived(
  (snapshot, sidecar: SidecarObject, reached: Reached, client: Client | undefined, captured: boolean): Outbound => {
    const declared: { readonly listener: OutboundListener; readonly place: Place }[] = [];
    const problems: Diagnostic[] = [];
    for (const [index, egress] of sidecar.egress.entries()) {
      if (egress.capturable && captured) continue;
      const targets = targetsOf(reached[index] ?? [], egress);
      const problem = problemOf(egress, targets);
      if (problem !== undefined) {
        problems.push(problem);
        continue;
      }
      const bind = bindOf(egress);
      const upstreams = targets.map((target) => toUpstream(snapshot, client, target));
      problems.push(...upstreams.flatMap((each) => each.diagnostics));
      const services = upstreams.map(({ upstream }) => upstream);
      declared.push({ place: egress.place, listener: { name: listenerName(bind), bind, protocol: egress.port.protocol, services } });
    }
    const { listeners, diagnostics } = firstOfEachName(declared);
    return { listeners, diagnostics: [...problems, ...diagnostics] };
  },
);

/** The outbound listeners of a workload; one that reaches nothing, or cannot choose, is left closed and told. */
export function compileOutbound(snapshot: MeshSnapshot, workload: Workload): Outbound {
  const sidecar = sidecarOf(snapshot, workload);
  if (sidecar === undefined) return { listeners: [], diagnostics: [] };
  const client = hasDestinationRules(snapshot) ? clientOf(snapshot, workload) : undefined;
  return outboundBy(snapshot, sidecar, reachedBy(snapshot, sidecar, workload.namespace), client, workload.captured === true);
}
