/** Plaintext HTTP to services that have no address: told by the Host header, as in Istio. */
import type { CapturePolicy } from "../../../compile/workload-policy.ts";
import { refusedOutboundHttpLog } from "../access-log.ts";
import { outboundHttp } from "../http-connection-manager.ts";
import { namedHosts, type OutboundClient } from "../outbound.ts";
import type { NamedService } from "../outbound-cluster.ts";
import { virtualHost } from "../routes.ts";
import type { FilterChainInit } from "./chains.ts";
import { PASSTHROUGH } from "./clusters.ts";

/** As Istio answers for hosts that it does not know. */
const BAD_GATEWAY = 502;

function otherHosts({ unknown }: Pick<CapturePolicy, "unknown">) {
  const name = "other";
  if (unknown === "ALLOW_ANY") return virtualHost({ name, domains: ["*"], cluster: PASSTHROUGH });
  const action = { case: "directResponse", value: { status: BAD_GATEWAY } } as const;
  return { name, domains: ["*"], routes: [{ match: { pathSpecifier: { case: "prefix", value: "/" } as const }, action }] };
}

/** What is TLS is none of it, and what names nobody known goes where it was going, or nowhere. */
export function byAuthority(
  view: OutboundClient & Pick<CapturePolicy, "unknown">,
  name: string,
  services: readonly NamedService[],
): FilterChainInit {
  const virtualHosts = [...namedHosts(view, services), otherHosts(view)];
  const routes = { name, virtualHosts, ignorePortInHostMatching: true, validateClusters: false };
  const filters = [outboundHttp({ name, routes, filters: [], accessLog: refusedOutboundHttpLog(name) })];
  return { name: "by-authority", filterChainMatch: { transportProtocol: "raw_buffer" }, filters };
}
