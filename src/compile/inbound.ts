/** Sidecar ingress, or the services of a workload with an address of its own -> inbound listeners. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { familyOf } from "../mesh/auto-addresses.ts";
import { type MeshService, servedPort, servicesOfWorkload } from "../mesh/registry.ts";
import { sidecarOf } from "../mesh/selection.ts";
import { addressesOf, type MeshSnapshot, type Workload } from "../mesh/snapshot.ts";
import type { Endpoint, ServicePort } from "../policy/model.ts";
import { effectiveMtls } from "./mtls.ts";
import { firstOfEachName } from "./unique.ts";
import type { InboundListener } from "./workload-policy.ts";

interface ServedPort {
  readonly service: MeshService;
  readonly port: ServicePort;
  readonly workloadPort: number;
}

/** Each service port that leads to the workload. */
function servedPorts(snapshot: MeshSnapshot, workload: Workload): readonly ServedPort[] {
  return servicesOfWorkload(snapshot, workload).flatMap((service) =>
    service.ports.flatMap((port) => {
      const workloadPort = servedPort(snapshot, service, port, workload);
      return workloadPort === undefined ? [] : [{ service, port, workloadPort }];
    }),
  );
}

function servicesAt(served: readonly ServedPort[], port: number): readonly string[] {
  return [...new Set(served.filter(({ workloadPort }) => workloadPort === port).map(({ service }) => service.key))];
}

function firstSpeaker(served: readonly ServedPort[], port: number, said = false): Pick<InboundListener, "serverFirst"> {
  return said || served.some((one) => one.workloadPort === port && one.port.serverFirst === true) ? { serverFirst: true } : {};
}

function isLoopback(address: string): boolean {
  return address === "127.0.0.1" || address === "::1";
}

/**
 * Without a Sidecar's ingress, a workload with an address of its own listens there and hands on to the same port of 127.0.0.1;
 * one that is captured, to the very port that was called.
 */
function derivedListeners(snapshot: MeshSnapshot, workload: Workload, served: readonly ServedPort[]): readonly InboundListener[] {
  if (isLoopback(workload.address)) return [];
  const byPort = new Map(served.map((entry) => [entry.workloadPort, entry]));
  return [...byPort.values()].map(({ port, workloadPort }) => ({
    name: `inbound_${workloadPort}`,
    bind: workload.address,
    port: workloadPort,
    protocol: port.protocol,
    mtls: effectiveMtls(snapshot, workload, workloadPort),
    ...firstSpeaker(served, workloadPort),
    endpoint: { kind: "tcp", host: workload.captured ? workload.address : "127.0.0.1", port: workloadPort },
    ...(workload.captured && workload.secondAddress !== undefined ? { asCalled: true as const } : {}),
    services: servicesAt(served, workloadPort),
  }));
}

function missingListeners(workload: Workload, served: readonly ServedPort[], listeners: readonly InboundListener[]): readonly Diagnostic[] {
  const open = new Set(listeners.map((listener) => listener.port));
  return served
    .filter(({ workloadPort }) => !open.has(workloadPort))
    .map(({ service, workloadPort }) => ({
      code: "GAR0105",
      message: `service \`${service.key}\` leads to port ${workloadPort} of workload \`${workload.key}\`, where no listener is`,
      place: workload.place,
      help: `add an ingress listener for port ${workloadPort} to the Sidecar of the workload, with the application's \`defaultEndpoint\``,
    }));
}

/** A captured workload's proxy is Envoy, which tells TLS from plaintext by what a client sends first. */
function silentPorts(snapshot: MeshSnapshot, workload: Workload, served: readonly ServedPort[]): readonly Diagnostic[] {
  if (!workload.captured) return [];
  return served
    .filter(({ port, workloadPort }) => port.serverFirst === true && effectiveMtls(snapshot, workload, workloadPort) === "PERMISSIVE")
    .map(({ service, port }) => ({
      code: "GAR0233",
      message: `at port ${port.port} of service \`${service.key}\` the server speaks first: while it is PERMISSIVE, Envoy waits for a client's first byte to tell TLS from plaintext, and plaintext never begins`,
      place: port.place,
      help: "clients of the mesh are served; for others too, name the port in `portLevelMtls` of a PeerAuthentication with mode DISABLE, or with STRICT to refuse them at once",
    }));
}

/** `0.0.0.0:PORT` and `[::]:PORT` stand for the workload's own address (Istio `Sidecar.ingress[].defaultEndpoint`): of two, for that of the family. */
function ownEndpoint(workload: Workload, endpoint: Endpoint): Endpoint {
  if (endpoint.kind !== "tcp" || (endpoint.host !== "0.0.0.0" && endpoint.host !== "::")) return endpoint;
  const { host } = endpoint;
  return { ...endpoint, host: addressesOf(workload).find((own) => familyOf(own) === familyOf(host)) ?? workload.address };
}

/** The inbound listeners of a workload. */
export function compileInbound(
  snapshot: MeshSnapshot,
  workload: Workload,
): { readonly listeners: readonly InboundListener[]; readonly diagnostics: readonly Diagnostic[] } {
  // The node's addresses are its applications' own: no proxy stands in between.
  if (workload.hostNetwork === true) return { listeners: [], diagnostics: [] };
  const served = servedPorts(snapshot, workload);
  const ingress = sidecarOf(snapshot, workload)?.ingress ?? [];
  if (ingress.length === 0) {
    const listeners = derivedListeners(snapshot, workload, served);
    return { listeners, diagnostics: [...missingListeners(workload, served, listeners), ...silentPorts(snapshot, workload, served)] };
  }
  const declared = ingress.map(({ port, bind, defaultEndpoint, place }) => ({
    place,
    listener: {
      name: `inbound_${port.number}`,
      bind: bind ?? workload.address,
      port: port.number,
      protocol: port.protocol,
      mtls: effectiveMtls(snapshot, workload, port.number),
      ...firstSpeaker(served, port.number, port.serverFirst),
      endpoint: ownEndpoint(workload, defaultEndpoint),
      services: servicesAt(served, port.number),
    },
  }));
  const { listeners, diagnostics } = firstOfEachName(declared);
  return {
    listeners,
    diagnostics: [...diagnostics, ...missingListeners(workload, served, listeners), ...silentPorts(snapshot, workload, served)],
  };
}
