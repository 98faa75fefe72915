/** Plaintext HTTP to services that have no address: told by the Host header, as in Istio. */
import type { CapturePolicy, UpstreamService, WorkloadPolicy } from "../../../compile/workload-policy.ts";
import { refusedOutboundHttpLog } from "../access-log.ts";
import { outboundHttp } from "../http-connection-manager.ts";
import { namedHosts, outboundClient } from "../outbound.ts";
import { virtualHost } from "../routes.ts";
import type { FilterChainInit } from "./chains.ts";
import { PASSTHROUGH } from "./clusters.ts";

/** As Istio answers for hosts that it does not know. */
const BAD_GATEWAY = 502;

function otherHosts({ unknown }: CapturePolicy) {
  const name = "other";
  if (unknown === "ALLOW_ANY") return virtualHost({ name, domains: ["*"], cluster: PASSTHROUGH });
  const action = { case: "directResponse", value: { status: BAD_GATEWAY } } as const;
  return { name, domains: ["*"], routes: [{ match: { pathSpecifier: { case: "prefix", value: "/" } as const }, action }] };
}

/** What is TLS is none of it, and what names nobody known goes where it was going, or nowhere. */
export function byAuthority(
  policy: WorkloadPolicy,
  capture: CapturePolicy,
  name: string,
  services: readonly UpstreamService[],
): FilterChainInit {
  const virtualHosts = [...namedHosts(outboundClient(policy), services), otherHosts(capture)];
  const routes = { name, virtualHosts, ignorePortInHostMatching: true, validateClusters: false };
  const filters = [outboundHttp({ name, routes, filters: [], accessLog: refusedOutboundHttpLog(name) })];
  return { name: "by-authority", filterChainMatch: { transportProtocol: "raw_buffer" }, filters };
}
