/** WorkloadPolicy -> the resources of each kind of proxy, with versions. */
import { create, toBinary } from "@bufbuild/protobuf";
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { ProxyPolicySchema } from "../gen/garrison/v1/proxy_pb.js";
import { renderEnvoy } from "../render/envoy/render.ts";
import { resource } from "../xds/cache.ts";
import type { ResourceSet } from "../xds/resource.ts";
import type { Renderers } from "./publisher.ts";

/** The type of the embedded proxy's one resource. */
const PROXY_POLICY = `type.googleapis.com/${ProxyPolicySchema.typeName}`;

function envoyResources(policy: WorkloadPolicy): ResourceSet {
  const rendered = [...renderEnvoy(policy)];
  return new Map(
    rendered.map(([typeUrl, resources]) => [typeUrl, new Map([...resources].map(([name, { body }]) => [name, resource(name, body)]))]),
  );
}

function embeddedResources(policy: WorkloadPolicy): ResourceSet {
  const body = toBinary(ProxyPolicySchema, create(ProxyPolicySchema, { json: Buffer.from(JSON.stringify(policy)) }));
  return new Map([[PROXY_POLICY, new Map([[policy.workload, resource(policy.workload, body)]])]]);
}

export const RENDERERS: Renderers = { envoy: envoyResources, embedded: embeddedResources };
