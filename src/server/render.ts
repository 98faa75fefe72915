/** WorkloadPolicy -> the resources of each kind of proxy, with versions. */
import { create, toBinary } from "@bufbuild/protobuf";
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { ProxyPolicySchema } from "../gen/garrison/v1/proxy_pb.js";
import { authorizationFilterNames } from "../render/envoy/authorization.ts";
import { renderEnvoy } from "../render/envoy/render.ts";
import { resource } from "../xds/cache.ts";
import type { ResourceSet } from "../xds/resource.ts";
import { EXTENSION } from "../xds/types.ts";
import type { Renderers } from "./publisher.ts";

/** The type of the embedded proxy's one resource. */
const PROXY_POLICY = `type.googleapis.com/${ProxyPolicySchema.typeName}`;

/** Filters that no listener of the workload names: its Envoy would never ask for them, and so never be up to date. */
function unusedFilters({ workload, inbound }: WorkloadPolicy): ReadonlySet<string> {
  const used = new Set(inbound.map(({ protocol }) => (protocol === "tcp" ? "tcp" : "http")));
  const unused = (["http", "tcp"] as const).filter((transport) => !used.has(transport));
  return new Set(unused.flatMap((transport) => authorizationFilterNames(workload, transport)));
}

function envoyResources(policy: WorkloadPolicy): ResourceSet {
  const unused = unusedFilters(policy);
  const versioned = [...renderEnvoy(policy)].map(([typeUrl, resources]) => {
    const wanted = [...resources].filter(([name]) => typeUrl !== EXTENSION || !unused.has(name));
    return [typeUrl, new Map(wanted.map(([name, { body }]) => [name, resource(name, body)]))] as const;
  });
  return new Map(versioned);
}

function embeddedResources(policy: WorkloadPolicy): ResourceSet {
  const body = toBinary(ProxyPolicySchema, create(ProxyPolicySchema, { json: Buffer.from(JSON.stringify(policy)) }));
  return new Map([[PROXY_POLICY, new Map([[policy.workload, resource(policy.workload, body)]])]]);
}

export const RENDERERS: Renderers = { envoy: envoyResources, embedded: embeddedResources };
