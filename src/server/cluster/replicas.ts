/** What the replicas of a control plane ask each other, by mutual TLS: each must prove to be the control plane. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Client, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import type { Authenticator } from "../../ca/authenticators.ts";
import { AppError } from "../../core/error.ts";
import {
  MtlsEvidenceRequestSchema,
  type MtlsEvidenceResponse,
  MtlsEvidenceResponseSchema,
  Replicas,
} from "../../gen/garrison/v1/replica_pb.js";
import { controlPlaneIdentity } from "../../identity/control-plane.ts";
import { formatSpiffeId } from "../../identity/spiffe-id.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import { clientCredentials, type RotatingTlsMaterial, tlsChannelOptions } from "../../rpc/credentials.ts";
import { peerCertificateOf } from "../../rpc/peer-certificate.ts";
import { methodDefinition } from "../../rpc/service.ts";
import { fromGrpcError, toGrpcStatus } from "../../rpc/status.ts";
import { parseCertificate, svidIdentity } from "../../x509/certificate.ts";
import { formatHostPort } from "../listen.ts";
import type { OthersEvidence, ReplicaEvidence } from "../mtls.ts";

const METHOD = methodDefinition(Replicas.method.mtlsEvidence);
const DEADLINE_MS = 10_000;
/** Of an answer with as many callers as are told at most. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

type Call = ServerUnaryCall<{ readonly sinceMs: bigint }, MtlsEvidenceResponse>;

interface ReplicaServiceOptions {
  readonly trustDomain: TrustDomain;
  readonly byCertificate: Authenticator;
  /** What this replica saw since a time in milliseconds. */
  readonly evidence: (since: number) => Promise<ReplicaEvidence>;
}

function write({ plaintext, served, proxies, truncated }: ReplicaEvidence): MtlsEvidenceResponse {
  const calls = plaintext.map(({ count, last, ...rest }) => ({ ...rest, count: BigInt(count), lastMs: BigInt(last) }));
  const message: MessageInitShape<typeof MtlsEvidenceResponseSchema> = {
    plaintext: calls,
    served: [...served],
    proxies: [...proxies],
    truncated,
  };
  return create(MtlsEvidenceResponseSchema, message);
}

function read({ plaintext, served, proxies, truncated }: MtlsEvidenceResponse): ReplicaEvidence {
  return {
    plaintext: plaintext.map(({ workload, port, sourceIp, count, lastMs }) => ({
      workload,
      port,
      sourceIp,
      count: Number(count),
      last: Number(lastMs),
    })),
    served: new Set(served),
    proxies: new Set(proxies),
    truncated,
  };
}

/** For `server.addService(serviceDefinition(Replicas), …)`: answers the control plane's other replicas, and nobody else. */
export function replicaService({ trustDomain, byCertificate, evidence }: ReplicaServiceOptions) {
  const own = formatSpiffeId(controlPlaneIdentity(trustDomain));
  async function answer(call: Call): Promise<MtlsEvidenceResponse> {
    const certificate = peerCertificateOf(call)?.raw;
    const proof = await byCertificate.authenticate({ certificate, authorization: [], cluster: [] });
    if (proof === undefined) throw new AppError("unauthenticated", "replicas come with the control plane's certificate");
    if (formatSpiffeId(proof.identity) !== own) throw new AppError("permission-denied", "only the control plane may ask this");
    return write(await evidence(Number(call.request.sinceMs)));
  }
  return {
    MtlsEvidence(call: Call, callback: sendUnaryData<MtlsEvidenceResponse>): void {
      answer(call).then(
        (message) => callback(null, message),
        (thrown: unknown) => callback(toGrpcStatus(AppError.from(thrown))),
      );
    },
  };
}

interface AskOptions {
  readonly trustDomain: TrustDomain;
  /** The control plane's own certificate, and the roots that it trusts. */
  readonly material: RotatingTlsMaterial;
  /** `HOST:PORT` of each replica, by its name. */
  readonly addresses: ReadonlyMap<string, string | undefined>;
  /** Milliseconds since the Unix epoch. */
  readonly since: number;
}

async function askOne(address: string, { trustDomain, material, since }: AskOptions): Promise<ReplicaEvidence> {
  const own = formatSpiffeId(controlPlaneIdentity(trustDomain));
  const credentials = clientCredentials(material, material, ({ raw }) =>
    formatSpiffeId(svidIdentity(parseCertificate(raw))) === own ? undefined : new Error("the server is not the control plane"),
  );
  const client = new Client(address, credentials, {
    "grpc.enable_http_proxy": 0,
    "grpc.enable_channelz": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": MAX_ANSWER_BYTES,
    ...tlsChannelOptions(address),
  });
  const request = create(MtlsEvidenceRequestSchema, { sinceMs: BigInt(since) });
  const { path, requestSerialize, responseDeserialize } = METHOD;
  try {
    return await new Promise((resolve, reject) => {
      const deadline = Date.now() + DEADLINE_MS;
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, { deadline }, (error, message) => {
        if (error !== null) reject(fromGrpcError(error));
        else if (message === undefined) reject(new AppError("internal", "an empty answer"));
        else resolve(read(message));
      });
    });
  } finally {
    client.close();
  }
}

/** Where others reach a replica that listens there: at the address that it is said to have, or at its own where that is one. */
export function replicaAddress(said: string | undefined, listen: { readonly host: string; readonly port: number }): string | undefined {
  const host = said ?? listen.host;
  if (host === "0.0.0.0" || host === "::") return undefined;
  return formatHostPort({ host, port: listen.port });
}

/** What the others saw; one that cannot be asked is told, and keeps nobody waiting. */
export async function askReplicas(options: AskOptions): Promise<OthersEvidence> {
  const evidence: ReplicaEvidence[] = [];
  const unasked: string[] = [];
  await Promise.all(
    [...options.addresses].map(async ([name, address]) => {
      try {
        if (address === undefined) throw new AppError("not-found", "it does not say where it is reached (--replica-address)");
        evidence.push(await askOne(address, options));
      } catch (thrown) {
        unasked.push(`${name}: ${AppError.from(thrown).message}`);
      }
    }),
  );
  return { evidence, unasked: unasked.sort() };
}
