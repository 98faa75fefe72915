/** `garrison.v1.Replicas`: answers the control plane's other replicas, and nobody else, with what is this one's own. */
import { once } from "node:events";
import { create, type MessageShape } from "@bufbuild/protobuf";
import type { ServerUnaryCall, ServerWritableStream, sendUnaryData, UntypedServiceImplementation } from "@grpc/grpc-js";
import type { Authenticator } from "../../ca/authenticators.ts";
import type { LedgerRows, ShownCertificate } from "../../ca/http.ts";
import type { CertificatesOf } from "../../ca/revoke.ts";
import { AppError } from "../../core/error.ts";
import {
  type CertificatesRequest,
  type CertificatesResponse,
  CertificatesResponseSchema,
  type DecisionsRequest,
  type DecisionsResponse,
  DecisionsResponseSchema,
  type LedgerRequest,
  type LedgerResponse,
  type MtlsEvidenceRequest,
  type MtlsEvidenceResponse,
  RecordedDecisionSchema,
} from "../../gen/garrison/v1/replica_pb.js";
import { controlPlaneIdentity } from "../../identity/control-plane.ts";
import { formatSpiffeId } from "../../identity/spiffe-id.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import { peerCertificateOf } from "../../rpc/peer-certificate.ts";
import { endCall, toGrpcStatus } from "../../rpc/status.ts";
import type { ReplicaEvidence } from "../mtls.ts";
import { writeEvidence } from "./replica-evidence.ts";
import { writeCertificate, writeRows } from "./replica-rows.ts";

/** A line of the record with the time of its arrival, in milliseconds. */
export interface ArrivedLine {
  readonly received: number;
  readonly line: string;
}

interface ReplicaServiceOptions {
  readonly trustDomain: TrustDomain;
  readonly byCertificate: Authenticator;
  /** What this replica saw since a time in milliseconds. */
  readonly evidence: (since: number) => Promise<ReplicaEvidence>;
  readonly certificates: (of: CertificatesOf) => readonly ShownCertificate[];
  /** Throws `invalid-argument` for a question that it does not understand. */
  readonly ledger: (query: URLSearchParams) => LedgerRows;
  /** The same of its record. */
  readonly decisions: (query: URLSearchParams, signal: AbortSignal) => AsyncIterable<ArrivedLine>;
}

type Unary<I, O> = (call: ServerUnaryCall<I, O>, callback: sendUnaryData<O>) => void;
type DecisionsCall = ServerWritableStream<DecisionsRequest, DecisionsResponse>;

/** A message has as many lines at most, or as many characters and a line. */
const MAX_LINES = 500;
const MAX_CHARACTERS = 256 * 1024;
/** Whoever asks gives up after a multiple of it. */
const STILL_LOOKING_MS = 1_000;

function decodeOf({ of }: CertificatesRequest): CertificatesOf {
  switch (of.case) {
    case "serial":
      return { serial: of.value };
    case "identity":
      return { identity: of.value };
    case "keyId":
      return { keyId: of.value };
    case undefined:
      throw new AppError("unsupported", "certificates are not known by what they are asked for");
  }
}

/** Sends lines at the reader's pace, what is there without waiting for more, and says from time to time that more may come. */
async function sendLines(call: DecisionsCall, lines: AsyncIterable<ArrivedLine>, signal: AbortSignal): Promise<void> {
  let batch: MessageShape<typeof RecordedDecisionSchema>[] = [];
  let size = 0;
  let scheduled: NodeJS.Immediate | undefined;
  const write = () => {
    clearImmediate(scheduled);
    scheduled = undefined;
    call.write(create(DecisionsResponseSchema, { decisions: batch }));
    [batch, size] = [[], 0];
  };
  const stillLooking = setInterval(() => {
    if (!call.writableNeedDrain) write();
  }, STILL_LOOKING_MS);
  try {
    for await (const { received, line } of lines) {
      batch.push(create(RecordedDecisionSchema, { receivedMs: BigInt(received), record: line }));
      size += line.length;
      if (batch.length >= MAX_LINES || size >= MAX_CHARACTERS) write();
      else scheduled ??= setImmediate(write);
      if (call.writableNeedDrain) await once(call, "drain", { signal });
    }
    if (batch.length > 0) write();
  } finally {
    clearImmediate(scheduled);
    clearInterval(stillLooking);
  }
}

/** For `server.addService(serviceDefinition(Replicas), …)`. */
export function replicaService(options: ReplicaServiceOptions): UntypedServiceImplementation {
  const { trustDomain, byCertificate } = options;
  const own = formatSpiffeId(controlPlaneIdentity(trustDomain));

  async function admit(call: Parameters<typeof peerCertificateOf>[0]): Promise<void> {
    const certificate = peerCertificateOf(call)?.raw;
    const proof = await byCertificate.authenticate({ certificate, authorization: [], cluster: [] });
    if (proof === undefined) throw new AppError("unauthenticated", "replicas come with the control plane's certificate");
    if (formatSpiffeId(proof.identity) !== own) throw new AppError("permission-denied", "only the control plane may ask this");
  }

  function unary<I, O>(answer: (request: I) => O | Promise<O>): Unary<I, O> {
    return (call, callback) => {
      admit(call)
        .then(() => answer(call.request))
        .then(
          (message) => callback(null, message),
          (thrown: unknown) => callback(toGrpcStatus(AppError.from(thrown))),
        );
    };
  }

  async function decide(call: DecisionsCall): Promise<void> {
    const gone = new AbortController();
    call.on("cancelled", () => gone.abort());
    call.on("close", () => gone.abort());
    try {
      await admit(call);
      await sendLines(call, options.decisions(new URLSearchParams(call.request.query), gone.signal), gone.signal);
      endCall(call, undefined);
    } catch (thrown) {
      if (!gone.signal.aborted) endCall(call, AppError.from(thrown));
    }
  }

  return {
    MtlsEvidence: unary(
      async ({ sinceMs }: MtlsEvidenceRequest): Promise<MtlsEvidenceResponse> => writeEvidence(await options.evidence(Number(sinceMs))),
    ),
    Certificates: unary((request: CertificatesRequest): CertificatesResponse => {
      const certificates = options.certificates(decodeOf(request)).map(writeCertificate);
      return create(CertificatesResponseSchema, { certificates });
    }),
    Ledger: unary(({ query }: LedgerRequest): LedgerResponse => writeRows(options.ledger(new URLSearchParams(query)))),
    Decisions: (call: DecisionsCall) => void decide(call),
  };
}
