/** Captured workloads: whatever they call, and whatever they are called at, goes through their proxies. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { type Families, familiesOf } from "../../mesh/auto-addresses.ts";
import { type Client, clientOf } from "../../mesh/destination-rules.ts";
import { derived } from "../../mesh/recording.ts";
import { sidecarOf } from "../../mesh/selection.ts";
import type { MeshSnapshot, Workload } from "../../mesh/snapshot.ts";
import type { SidecarObject } from "../../policy/model.ts";
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

/** Once for all workloads that see the same. */
const outboundBy = derived(
  (snapshot, sidecar: SidecarObject | undefined, client: Client, cluster: string | undefined, given: Families | undefined): Outbound => {
    const known = knownServices(snapshot, sidecar, client.namespace);
    const peers = capturedPeers(snapshot, known, { namespace: client.namespace, everything: knowsEverything(sidecar) });
    return { ...capturedServices(snapshot, { client, cluster, given }, known), peers };
  },
);

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
): { readonly capture?: CapturePolicy; readonly diagnostics: readonly Diagnostic[] } {
  if (!workload.captured) return { diagnostics: isGateway ? [] : unused(snapshot, workload) };
  if (isGateway || isLoopback(workload.address)) return { diagnostics: [notCaptured(workload, isGateway)] };
  const given = workload.autoAllocates ? familiesOf(workload) : undefined;
  const sidecar = sidecarOf(snapshot, workload);
  const { services, peers, diagnostics } = outboundBy(snapshot, sidecar, clientOf(snapshot, workload), workload.cluster, given);
  const unknown = sidecar?.outboundTrafficPolicy ?? snapshot.meshConfig.outboundTrafficPolicy ?? "ALLOW_ANY";
  const ports = portsWithOwnMode(snapshot, workload).map((port) => ({ port, mtls: effectiveMtls(snapshot, workload, port) }));
  const otherPorts = { mtls: effectiveMtls(snapshot, workload, OTHER_PORTS), ports };
  return { capture: { unknown, services, peers, otherPorts }, diagnostics };
}
