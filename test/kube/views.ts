/** What a control plane makes of a cluster: a workload's policy, and where its services are served. */
import type { WorkloadView } from "../../src/analyze/workload-view.ts";
import { callAdmin } from "../../src/cli/admin-client.ts";
import type { Place } from "../feature/place.ts";

/** The label that injection gives to pods: a proxy is in front of them. */
export const PROXIED = { "security.istio.io/tlsMode": "istio" };

/** Undefined for a workload that is not there. */
export async function viewOf(place: Place, workload: string): Promise<WorkloadView | undefined> {
  const path = `/v1/policy?workload=${encodeURIComponent(workload)}`;
  return ((await callAdmin(place.controlPlane().adminSocket, "GET", path)) as readonly WorkloadView[])[0];
}

/** Where a workload's services are served, or the one that is named, and who must answer there: `ADDRESS:PORT IDENTITY`, sorted. */
export async function reachedBy(place: Place, workload: string, service?: string): Promise<readonly string[]> {
  const outbound = (await viewOf(place, workload))?.policy.outbound ?? [];
  const services = outbound
    .flatMap((listener) => listener.services)
    .filter(({ service: name }) => service === undefined || name === service);
  const endpoints = services.flatMap((each) => each.endpoints);
  return endpoints.map((endpoint) => `${endpoint.address}:${endpoint.port} ${endpoint.mtls ? endpoint.identity : "in plaintext"}`).sort();
}

/** The names of all workloads, sorted. */
export async function workloadsOf(place: Place): Promise<readonly string[]> {
  return (await place.status()).workloads.map(({ workload }) => workload).sort();
}
