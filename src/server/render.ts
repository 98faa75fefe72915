/** WorkloadPolicy -> the resources of each kind of proxy, with versions. */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { GatewaySecret } from "../compile/gateway-secrets.ts";
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { SecretSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { type GatewaySecretSchema, ProxyPolicySchema } from "../gen/garrison/v1/proxy_pb.js";
import { renderEnvoy } from "../render/envoy/render.ts";
import { envoySecret } from "../render/envoy/secrets.ts";
import { resource } from "../xds/cache.ts";
import type { Resource, ResourceSet } from "../xds/resource.ts";
import type { Renderers } from "./publisher.ts";

/** The type of the embedded proxy's one resource. */
const PROXY_POLICY = `type.googleapis.com/${ProxyPolicySchema.typeName}`;

/** The type of Envoy's secrets. */
const SECRET = `type.googleapis.com/${SecretSchema.typeName}`;

function envoyResources(policy: WorkloadPolicy, secrets: readonly GatewaySecret[], own: object): ResourceSet {
  const rendered = renderEnvoy(policy, own);
  if (secrets.length === 0) return rendered;
  const served = secrets.map((secret) => [secret.name, resource(secret.name, toBinary(SecretSchema, envoySecret(secret)))] as const);
  return new Map<string, ReadonlyMap<string, Resource>>([...rendered, [SECRET, new Map(served)]]);
}

function embeddedSecret(secret: GatewaySecret): MessageInitShape<typeof GatewaySecretSchema> {
  const { name } = secret;
  if (secret.kind === "certificate") return { name, chain: Buffer.from(secret.chain), key: Buffer.from(secret.key.reveal()) };
  return { name, ca: Buffer.from(secret.ca), crl: Buffer.from(secret.crl ?? "") };
}

function embeddedResources(policy: WorkloadPolicy, secrets: readonly GatewaySecret[]): ResourceSet {
  const message = create(ProxyPolicySchema, { json: Buffer.from(JSON.stringify(policy)), secrets: secrets.map(embeddedSecret) });
  const body = toBinary(ProxyPolicySchema, message);
  return new Map([[PROXY_POLICY, new Map([[policy.workload, resource(policy.workload, body)]])]]);
}

export const RENDERERS: Renderers = { envoy: envoyResources, embedded: embeddedResources };
