/** Captured workloads: whatever they call, and whatever they are called at, goes through their proxies. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { reconcile } from "../../mesh/reconcile.ts";
import { sidecarOf } from "../../mesh/selection.ts";
import type { MeshSnapshot, Workload } from "../../mesh/snapshot.ts";
import { objectKey } from "../../policy/model.ts";
import { effectiveMtls, OTHER_PORTS, portsWithOwnMode } from "../mtls.ts";
import type { CapturedPeers, CapturedService, CapturePolicy } from "../workload-policy.ts";
import { capturedPeers } from "./peers.ts";
import { knownServices, knowsEverything } from "./scope.ts";
import { capturedServices } from "./services.ts";

/** What captured workloads that see the same have in common. */
interface Outbound {
  readonly services: readonly CapturedService[];
  readonly peers: readonly CapturedPeers[];
  readonly diagnostics: readonly Diagnostic[];
}

/** All that `outboundOf` reads, so that whoever notes what is read knows it also where the answer was there. */
function readFields(snapshot: MeshSnapshot): readonly unknown[] {
  const { settings, meshConfig, workloads, services, serviceEntries, destinationRules, sidecars } = snapshot;
  const { peerAuthentications, gateways, revoked, endpointSlices } = snapshot;
  return [
    ...[settings, meshConfig, workloads, services, serviceEntries, destinationRules, sidecars],
    ...[peerAuthentications, gateways, revoked, endpointSlices],
  ];
}

function outboundOf(snapshot: MeshSnapshot, workload: Workload): Outbound {
  const known = knownServices(snapshot, workload);
  const peers = capturedPeers(snapshot, known, knowsEverything(snapshot, workload));
  return { ...capturedServices(snapshot, workload, known), peers };
}

/** Workloads of one key see the same: by their Sidecar, by what their namespace sees and says, and by rules that select them. */
function sightOf(snapshot: MeshSnapshot, workload: Workload): string {
  const { destinationRules, serviceEntries } = snapshot;
  const sidecar = sidecarOf(snapshot, workload);
  const differs = sidecar !== undefined || destinationRules.length > 0 || serviceEntries.length > 0;
  const selected = destinationRules.some(({ meta, selector }) => selector.size > 0 && meta.namespace === workload.namespace);
  return JSON.stringify([sidecar && objectKey(sidecar), differs && workload.namespace, selected && workload.key]);
}

/** Made once for all that see the same, and kept, the same object, where another state of the mesh comes to the same. */
export class SharedOutbound {
  #fields: readonly unknown[] = [];
  #now = new Map<string, Outbound>();
  #before: ReadonlyMap<string, Outbound> = new Map();

  of(snapshot: MeshSnapshot, workload: Workload): Outbound {
    const fields = readFields(snapshot);
    if (!fields.every((field, index) => field === this.#fields[index])) [this.#before, this.#now] = [this.#now, new Map()];
    this.#fields = fields;
    const key = sightOf(snapshot, workload);
    const known = this.#now.get(key) ?? reconcile(this.#before.get(key), outboundOf(snapshot, workload));
    this.#now.set(key, known);
    return known;
  }
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}

function notCaptured({ key, place, address }: Workload, isGateway: boolean): Diagnostic {
  return {
    code: "GAR0231",
    message: isGateway
      ? `workload \`${key}\` is a gateway, and a gateway's traffic is not captured`
      : `workload \`${key}\` cannot be captured: its address is ${address}`,
    place,
    help: isGateway ? "say `interceptionMode: NONE` of it" : "give it an address of its machine, or say `interceptionMode: NONE`",
  };
}

/** What its Sidecar says of captured traffic, where there is none. */
function unused(snapshot: MeshSnapshot, workload: Workload): readonly Diagnostic[] {
  const sidecar = sidecarOf(snapshot, workload);
  const help = "say `sidecar.istio.io/interceptionMode: REDIRECT` of workloads whose machines redirect their traffic to the proxy";
  const code = "GAR0230";
  const scopes = (sidecar?.scopes ?? []).map(({ place }) => {
    const message = "an egress listener without a `port` catches captured traffic alone: it is nothing to workloads that are not captured";
    return { code, message, place, help } as const;
  });
  if (sidecar?.outboundTrafficPolicy === undefined) return scopes;
  const message = "`outboundTrafficPolicy` is for captured traffic alone: it is nothing to workloads that are not captured";
  return [...scopes, { code, message, place: sidecar.meta.place, help }];
}

/** Undefined for a workload that makes its connections to listeners of its proxy. */
export function compileCapture(
  snapshot: MeshSnapshot,
  workload: Workload,
  isGateway: boolean,
  shared: SharedOutbound,
): { readonly capture?: CapturePolicy; readonly diagnostics: readonly Diagnostic[] } {
  if (!workload.captured) return { diagnostics: isGateway ? [] : unused(snapshot, workload) };
  if (isGateway || isLoopback(workload.address)) return { diagnostics: [notCaptured(workload, isGateway)] };
  const { services, peers, diagnostics } = shared.of(snapshot, workload);
  const unknown = sidecarOf(snapshot, workload)?.outboundTrafficPolicy ?? snapshot.meshConfig.outboundTrafficPolicy ?? "ALLOW_ANY";
  const ports = portsWithOwnMode(snapshot, workload).map((port) => ({ port, mtls: effectiveMtls(snapshot, workload, port) }));
  const otherPorts = { mtls: effectiveMtls(snapshot, workload, OTHER_PORTS), ports };
  return { capture: { unknown, services, peers, otherPorts }, diagnostics };
}
