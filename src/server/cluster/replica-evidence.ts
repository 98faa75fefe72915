/** What replicas saw of the mesh at work, as they tell it to each other. */
import { create } from "@bufbuild/protobuf";
import {
  MtlsEvidenceRequestSchema,
  type MtlsEvidenceResponse,
  MtlsEvidenceResponseSchema,
  Replicas,
} from "../../gen/garrison/v1/replica_pb.js";
import { methodDefinition } from "../../rpc/service.ts";
import type { OthersEvidence, ReplicaEvidence } from "../mtls.ts";
import type { OtherReplicas } from "./other-replicas.ts";

const METHOD = methodDefinition(Replicas.method.mtlsEvidence);
/** Some 200,000 records are looked at. */
const DEADLINE_MS = 10_000;

export function writeEvidence({ plaintext, served, proxies, truncated }: ReplicaEvidence): MtlsEvidenceResponse {
  const calls = plaintext.map(({ count, last, ...rest }) => ({ ...rest, count: BigInt(count), lastMs: BigInt(last) }));
  return create(MtlsEvidenceResponseSchema, { plaintext: calls, served: [...served], proxies: [...proxies], truncated });
}

function readEvidence({ plaintext, served, proxies, truncated }: MtlsEvidenceResponse): ReplicaEvidence {
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

/** What the others saw since a time in milliseconds. */
export async function othersEvidence(others: OtherReplicas, since: number): Promise<OthersEvidence> {
  const request = create(MtlsEvidenceRequestSchema, { sinceMs: BigInt(since) });
  const { answers, unasked } = await others.ask(METHOD, request, DEADLINE_MS, readEvidence);
  return { evidence: answers.map(({ answer }) => answer), unasked };
}
