/** `garrison.v1.DecisionLog`: what embedded proxies report. */
import { create } from "@bufbuild/protobuf";
import type { ServerDuplexStream, UntypedServiceImplementation } from "@grpc/grpc-js";
import { type DecisionRecord, type ReportRequest, type ReportResponse, ReportResponseSchema } from "../gen/garrison/v1/proxy_pb.js";
import { toGrpcStatus } from "../rpc/status.ts";
import { type DryRunRecord, EFFECTS, type NewAuditRecord, pathOnly } from "./record.ts";
import {
  type IntakeOptions,
  type IntakeStats,
  type NodeClaim,
  type Reported,
  ReportingStreams,
  type ReportingWorkload,
} from "./reporting-stream.ts";

/** `NAMESPACE/POLICY[RULE]`, `default`, `no-policy` or `revoked`. */
const ORIGIN = /^(?:default|no-policy|revoked|[a-z0-9.-]+\/[a-z0-9.-]+\[\d+\])$/;
/** A version and a suite, and the group of the key exchange where it is known. */
const TLS = /^TLSv1\.[23] TLS_[A-Z0-9_]{1,80}(?: [A-Za-z0-9-]{1,32})?$/;
const OBJECT_NAME = /^[a-z0-9.-]+\/[a-z0-9.-]+$/;

/** A decision has an origin, and a refusal has none. */
function originFits({ effect, origin }: DecisionRecord): boolean {
  return effect === "refused" ? origin === "" : ORIGIN.test(origin);
}

const VERDICTS = ["allow", "deny"] as const;

/** What a dry run would do, of a decision that has an origin. */
function dryRunOf({ effect, dryRun, dryRunOrigin }: DecisionRecord): DryRunRecord {
  const verdict = VERDICTS.find((known) => known === dryRun);
  return verdict === undefined || effect === "refused" || !ORIGIN.test(dryRunOrigin) ? {} : { dryRun: verdict, dryRunOrigin };
}

/** One reported decision; undefined for what cannot be one. The workload is the stream's, whatever the record says. */
export function fromDecisionRecord(decision: DecisionRecord, workload: string): NewAuditRecord | undefined {
  const { timeMs, caller, sourceIp, service, protocol, method, path, host, port, status } = decision;
  const { bytesReceived, bytesSent, origin, detail, durationUs, audit } = decision;
  const effect = EFFECTS.find((known) => known === decision.effect);
  if (effect === undefined || !originFits(decision) || (protocol !== "http" && protocol !== "tcp")) return undefined;
  if (service !== "" && !OBJECT_NAME.test(service)) return undefined;
  return {
    time: Number(timeMs),
    reporter: "embedded",
    workload,
    service,
    caller,
    sourceIp,
    protocol,
    method,
    path: pathOnly(path),
    host,
    port,
    status,
    bytesReceived: Number(bytesReceived),
    bytesSent: Number(bytesSent),
    durationMicros: Number(durationUs),
    effect,
    origin,
    detail,
    audit: audit.filter((rule) => ORIGIN.test(rule)),
    ...dryRunOf(decision),
    tls: TLS.test(decision.tls) ? decision.tls : "",
  };
}

function nodeOf({ node }: ReportRequest): NodeClaim | undefined {
  return node === undefined ? undefined : { id: node.id, metadata: node.metadata };
}

function read({ records: decisions }: ReportRequest, { workload }: ReportingWorkload, max: number): Reported {
  const records = decisions.slice(0, max).flatMap((decision) => fromDecisionRecord(decision, workload) ?? []);
  return { records, ends: [], rejected: decisions.length - records.length };
}

/** Tells the client how many records were taken in, and only the newest number when it reads slowly. */
function acknowledge(call: ServerDuplexStream<ReportRequest, ReportResponse>): (total: number) => void {
  let newest = 0;
  let told = 0;
  const tell = () => {
    if (newest === told || call.writableNeedDrain || !call.writable) return;
    told = newest;
    call.write(create(ReportResponseSchema, { accepted: BigInt(told) }));
  };
  call.on("drain", tell);
  return (total) => {
    newest = total;
    tell();
  };
}

export interface DecisionLogIntake {
  /** For `server.addService(serviceDefinition(DecisionLog), implementation)`. */
  readonly implementation: UntypedServiceImplementation;
  stats(): IntakeStats;
}

/** Takes in what embedded proxies report. A stream without a certificate, or of another workload's, is ended with the status of what `admit` throws. */
export function createDecisionLogIntake(options: IntakeOptions): DecisionLogIntake {
  const streams = new ReportingStreams(options);
  const Report = (call: ServerDuplexStream<ReportRequest, ReportResponse>): void => {
    void streams.serve(call, { nodeOf, read, taken: acknowledge(call) }, (error) => {
      call.once("finish", () => call.destroy());
      if (error === undefined) call.end();
      else call.emit("error", toGrpcStatus(error));
    });
  };
  return { implementation: { Report }, stats: () => streams.stats() };
}
