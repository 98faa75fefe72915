/** Sidecar egress -> outbound listeners, with the identities that may answer (secure naming). */
import type { Diagnostic, Place } from "../core/diagnostic.ts";
import { sidecarOf, workloadsOfService } from "../mesh/selection.ts";
import { egressHostMatches, serviceHost, serviceKey, workloadPortOf } from "../mesh/services.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import type { EgressListener, Endpoint, ServiceObject, ServicePort } from "../policy/model.ts";
import { acceptsMtls } from "./mtls.ts";
import { aliasesOf, trustDomainsOf } from "./trust-domains.ts";
import { firstOfEachName } from "./unique.ts";
import type { OutboundListener, ServiceEndpoint, UpstreamService } from "./workload-policy.ts";

interface Target {
  readonly service: ServiceObject;
  readonly port: ServicePort;
}

/** Who may answer besides: the same account, by the aliases of its trust domain. */
function otherNames(snapshot: MeshSnapshot, { identity }: Workload): Pick<ServiceEndpoint, "aliases"> {
  const aliases = aliasesOf(identity, trustDomainsOf(snapshot));
  return aliases.length === 0 ? {} : { aliases };
}

/** Where a service's port is served. An endpoint's identity is its workload's own: never the union over the service (SN-5). */
function endpointsOf(snapshot: MeshSnapshot, { service, port }: Target): readonly ServiceEndpoint[] {
  return workloadsOfService(snapshot, service).flatMap((workload) => {
    // What is revoked has no certificate with which it could answer.
    if (!workload.ready || snapshot.revoked.identities.has(workload.identity)) return [];
    const workloadPort = workloadPortOf(port, workload);
    if (workloadPort === undefined) return [];
    const mtls = snapshot.meshConfig.enableAutoMtls && acceptsMtls(snapshot, workload, workloadPort);
    return [{ address: workload.address, port: workloadPort, identity: workload.identity, ...otherNames(snapshot, workload), mtls }];
  });
}

/** A service's port with where it is served, and by whom. */
export function toUpstream(snapshot: MeshSnapshot, target: Target): UpstreamService {
  const host = serviceHost(snapshot, target.service);
  const { port, protocol, name: portName } = target.port;
  return {
    service: serviceKey(target.service),
    host,
    port,
    portName,
    protocol,
    sni: `outbound_.${port}_._.${host}`,
    endpoints: endpointsOf(snapshot, target),
  };
}

/** The port of a service by its host, whoever asks; undefined where there is no such service or port. */
export function findUpstream(
  snapshot: MeshSnapshot,
  { namespace, host }: { readonly namespace: string | undefined; readonly host: string },
  port: number,
): UpstreamService | undefined {
  const service = snapshot.services.find(
    (candidate) => serviceHost(snapshot, candidate) === host && (namespace === undefined || namespace === candidate.meta.namespace),
  );
  const servicePort = service?.ports.find((candidate) => candidate.port === port);
  return service === undefined || servicePort === undefined ? undefined : toUpstream(snapshot, { service, port: servicePort });
}

/**
 * What a listener reaches: of the services that its hosts name, the ports with the listener's number (as Istio does).
 * Where there is none, and one exact host names one service, its only port or its port of the listener's name: so that
 * several workloads can share an address.
 */
function targetsOf(snapshot: MeshSnapshot, workload: Workload, listener: EgressListener): readonly Target[] {
  const services = snapshot.services.filter((service) =>
    listener.hosts.some((host) => egressHostMatches(snapshot, host, workload.namespace, service)),
  );
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
      "a host names services as NAMESPACE/NAME.NAMESPACE.svc.cluster.local, and the listener's port must be one of theirs, unless there is but one exact host";
    return { code: "GAR0102", message: `${describe(listener)} reaches no service`, place, help };
  }
  if (listener.port.protocol === "tcp" && targets.length > 1) {
    const names = targets.map(({ service }) => serviceKey(service)).join(", ");
    const help = "nothing in a TCP connection tells them apart: give each service a listener of its own";
    return { code: "GAR0104", message: `${describe(listener)} is TCP and reaches several services: ${names}`, place, help };
  }
  return undefined;
}

/** The outbound listeners of a workload; one that reaches nothing, or cannot choose, is left closed and told. */
export function compileOutbound(
  snapshot: MeshSnapshot,
  workload: Workload,
): { readonly listeners: readonly OutboundListener[]; readonly diagnostics: readonly Diagnostic[] } {
  const declared: { readonly listener: OutboundListener; readonly place: Place }[] = [];
  const problems: Diagnostic[] = [];
  for (const egress of sidecarOf(snapshot, workload)?.egress ?? []) {
    const targets = targetsOf(snapshot, workload, egress);
    const problem = problemOf(egress, targets);
    if (problem !== undefined) {
      problems.push(problem);
      continue;
    }
    const bind = bindOf(egress);
    const services = targets.map((target) => toUpstream(snapshot, target));
    declared.push({ place: egress.place, listener: { name: listenerName(bind), bind, protocol: egress.port.protocol, services } });
  }
  const { listeners, diagnostics } = firstOfEachName(declared);
  return { listeners, diagnostics: [...problems, ...diagnostics] };
}
