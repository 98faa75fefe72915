/** Routes: a host to a cluster, without a time limit (Istio's default). */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RetryPolicySchema, VirtualHostSchema } from "../../gen/envoy/config/route/v3/route_components_pb.js";
import { duration } from "./any.ts";

export interface HostRoute {
  readonly name: string;
  /** Without ports; `*` is any. */
  readonly domains: readonly string[];
  readonly cluster: string;
  readonly retry?: MessageInitShape<typeof RetryPolicySchema>;
}

/** Everything for these hosts goes to one cluster. */
export function virtualHost({ name, domains, cluster, retry }: HostRoute): MessageInitShape<typeof VirtualHostSchema> {
  const action = {
    clusterSpecifier: { case: "cluster", value: cluster },
    timeout: duration(0),
    ...(retry === undefined ? {} : { retryPolicy: retry }),
  } as const;
  return {
    name,
    domains: [...domains],
    routes: [{ match: { pathSpecifier: { case: "prefix", value: "/" } }, action: { case: "route", value: action } }],
  };
}
