/** Somebody who calls the control plane's gRPC port, with a token, a certificate, both or neither. */
import { readFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { Client, Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import { AggregatedDiscoveryService } from "../../src/gen/envoy/service/discovery/v3/ads_pb.js";
import { DeltaDiscoveryRequestSchema } from "../../src/gen/envoy/service/discovery/v3/discovery_pb.js";
import { DecisionLog, DecisionRecordSchema, ReportRequestSchema } from "../../src/gen/garrison/v1/proxy_pb.js";
import { Replicas } from "../../src/gen/garrison/v1/replica_pb.js";
import { IstioCertificateRequestSchema, IstioCertificateService } from "../../src/gen/istio/v1/auth/ca_pb.js";
import { clientCredentials, RotatingTlsMaterial, type TlsMaterial } from "../../src/rpc/credentials.ts";
import { methodDefinition } from "../../src/rpc/service.ts";
import type { ControlPlaneFile } from "../../src/server/files.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";

const DEADLINE_MS = 15_000;

/** The name of a gRPC status code with what was said, or the answer. */
export type Outcome<T> =
  | { readonly code: "OK"; readonly answer: T }
  | { readonly code: Exclude<keyof typeof status, "OK">; readonly details: string };

export interface Credentials {
  readonly token?: string;
  readonly material?: TlsMaterial;
  /** Whose certificate is asked for, where it is another's: Istio's `ImpersonatedIdentity`. */
  readonly impersonated?: string;
  /** The cluster that issued the token. */
  readonly cluster?: string;
}

/** Which workload a proxy says that it is. */
function nodeOf(workload: string, proxy = "embedded") {
  const [namespace = "", name = ""] = workload.split("/");
  return { id: `test~${workload}`, metadata: { NAMESPACE: namespace, WORKLOAD_NAME: name, GARRISON_PROXY: proxy } };
}

function failure({ code, details }: Pick<StatusObject, "code" | "details">): Outcome<never> {
  return { code: status[code] as Exclude<keyof typeof status, "OK">, details };
}

/** Calls with a client of its own and closes it. */
async function withClient<T>(
  { host, port, rootCertificate }: ControlPlaneFile,
  material: TlsMaterial | undefined,
  call: (client: Client) => Promise<T>,
): Promise<T> {
  const roots = new RotatingTlsMaterial({ key: "", chain: "", roots: readFileSync(rootCertificate, "utf8") });
  const own = material === undefined ? undefined : new RotatingTlsMaterial(material);
  const client = new Client(
    `${host}:${port}`,
    clientCredentials(roots, own, () => undefined),
    { "grpc.ssl_target_name_override": "localhost", "grpc.use_local_subchannel_pool": 1 },
  );
  try {
    return await call(client);
  } finally {
    client.close();
  }
}

const deadline = () => ({ deadline: Date.now() + DEADLINE_MS });

/** Sends a certificate request (PEM) to Istio's certificate service; the chain, leaf first. */
export function requestCertificate(
  controlPlane: ControlPlaneFile,
  csr: string,
  { token, material, impersonated, cluster }: Credentials,
): Promise<Outcome<readonly string[]>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(IstioCertificateService.method.createCertificate);
  const metadata = new Metadata();
  if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
  if (cluster !== undefined) metadata.set("clusterid", cluster);
  const asked = impersonated === undefined ? {} : { metadata: { ImpersonatedIdentity: impersonated } };
  const request = create(IstioCertificateRequestSchema, { csr, ...asked });
  return withClient(controlPlane, material, (client) => {
    const { promise, resolve } = Promise.withResolvers<Outcome<readonly string[]>>();
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, deadline(), (error, response) => {
      resolve(error === null ? { code: "OK", answer: response?.certChain ?? [] } : failure(error));
    });
    return promise;
  });
}

/** A certificate of `identity`, as an agent gets its first. */
export async function enrol(controlPlane: ControlPlaneFile, identity: string, token: string): Promise<TlsMaterial> {
  const key = generateKey();
  const outcome = await requestCertificate(controlPlane, buildCsr(key, identity), { token });
  if (outcome.code !== "OK") throw new Error(`${outcome.code}: ${outcome.details}`);
  const roots = outcome.answer.at(-1) ?? "";
  return { key: String(key.export({ type: "pkcs8", format: "pem" })), chain: outcome.answer.slice(0, -1).join(""), roots };
}

/** Opens a delta ADS stream as the proxy of `workload` and asks for `typeUrl`; the names in the first answer. */
export function openAds(
  controlPlane: ControlPlaneFile,
  workload: string,
  { typeUrl, names, proxy }: { readonly typeUrl: string; readonly names: readonly string[]; readonly proxy?: string },
  material?: TlsMaterial,
): Promise<Outcome<readonly string[]>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(AggregatedDiscoveryService.method.deltaAggregatedResources);
  return withClient(controlPlane, material, (client) => {
    const { promise, resolve } = Promise.withResolvers<Outcome<readonly string[]>>();
    const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), deadline());
    call.on("data", ({ resources }) =>
      resolve({ code: "OK", answer: resources.map((resource: { readonly name: string }) => resource.name) }),
    );
    call.on("error", (error: ServiceError) => resolve(failure(error)));
    call.write(create(DeltaDiscoveryRequestSchema, { node: nodeOf(workload, proxy), typeUrl, resourceNamesSubscribe: [...names] }));
    return promise.finally(() => call.cancel());
  });
}

/** Asks what only replicas of a control plane ask each other; what it answers is left unread. */
export function askAsReplica(
  controlPlane: ControlPlaneFile,
  method: keyof typeof Replicas.method,
  material?: TlsMaterial,
): Promise<Outcome<undefined>> {
  const empty = () => Buffer.alloc(0);
  const path = `/${Replicas.typeName}/${Replicas.method[method].name}`;
  return withClient(controlPlane, material, (client) => {
    const { promise, resolve } = Promise.withResolvers<Outcome<undefined>>();
    const call = client.makeServerStreamRequest(path, empty, empty, undefined, deadline());
    call.on("error", (error: ServiceError) => resolve(failure(error)));
    call.on("end", () => resolve({ code: "OK", answer: undefined }));
    call.resume();
    return promise;
  });
}

/** What an embedded proxy tells of one decision. */
export type Decision = NonNullable<Parameters<typeof create<typeof DecisionRecordSchema>>[1]>;

/** Reports decisions as the proxy of `workload`; how many were taken in. */
export function report(
  controlPlane: ControlPlaneFile,
  workload: string,
  decisions: readonly Decision[],
  material?: TlsMaterial,
): Promise<Outcome<number>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(DecisionLog.method.report);
  return withClient(controlPlane, material, (client) => {
    const { promise, resolve } = Promise.withResolvers<Outcome<number>>();
    const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), deadline());
    call.on("data", ({ accepted }) => resolve({ code: "OK", answer: Number(accepted) }));
    call.on("error", (error: ServiceError) => resolve(failure(error)));
    const records = decisions.map((decision) => create(DecisionRecordSchema, decision));
    call.write(create(ReportRequestSchema, { node: nodeOf(workload), records }));
    return promise.finally(() => call.cancel());
  });
}
