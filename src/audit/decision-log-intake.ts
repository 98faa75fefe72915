/** `garrison.v1.DecisionLog`: what embedded proxies report, and agents for their Envoys. */
import { create } from "@bufbuild/protobuf";
import type { ServerDuplexStream, UntypedServiceImplementation } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import { type DecisionRecord, type ReportRequest, type ReportResponse, ReportResponseSchema } from "../gen/garrison/v1/proxy_pb.js";
import { toGrpcStatus } from "../rpc/status.ts";
import type { EntrySource } from "./als-fields.ts";
import { readEnvoyLogs } from "./envoy-log.ts";
import { DECISION_EFFECTS, type DryRunRecord, type EntryMeaning, type NewAuditRecord, pathOnly } from "./record.ts";
import {
  type IntakeOptions,
  type IntakeStats,
  type NodeClaim,
  type Reported,
  ReportingStreams,
  type ReportingWorkload,
  type ReportReader,
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
  const effect = DECISION_EFFECTS.find((known) => known === decision.effect);
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

/** The form of a run's name. */
const RUN = /^[A-Za-z0-9_-]{1,64}$/;

interface Entries {
  readonly meanings: readonly EntryMeaning[];
  readonly count: number;
  readonly rejected: number;
}

function readDecisions(decisions: readonly DecisionRecord[], workload: string, max: number): Entries {
  const meanings = decisions.slice(0, max).map((decision): EntryMeaning => {
    const record = fromDecisionRecord(decision, workload);
    return record === undefined ? { kind: "nothing" } : { kind: "record", record };
  });
  const good = meanings.filter(({ kind }) => kind === "record").length;
  return { meanings, count: decisions.length, rejected: decisions.length - good };
}

function readEntries({ records, envoy }: ReportRequest, of: Omit<EntrySource, "log">, max: number): Entries {
  if (envoy.length === 0) return readDecisions(records, of.workload, max);
  const { meanings, count, malformed } = readEnvoyLogs(envoy, of, max);
  return { meanings, count, rejected: malformed + count - meanings.length };
}

/** Where the numbers of a message lie. Throws `invalid-argument` where they are none. */
function numbersOf({ first, lost, envoy }: ReportRequest, run: string, count: number): NonNullable<Reported["numbered"]> {
  if (first < 1n || first > BigInt(Number.MAX_SAFE_INTEGER - count) || lost >= first)
    throw new AppError("invalid-argument", "the records of this stream are to be numbered from 1 on");
  return { reporter: envoy.length === 0 ? "embedded" : "envoy", run, first: Number(first), count, lost: Number(lost) };
}

/** Reads the messages of one stream; the first of them says whether and how its records are numbered. */
function streamReader(serviceOf: EntrySource["serviceOf"]): ReportReader<ReportRequest> {
  let run: string | undefined;
  return {
    nodeOf,
    read: (message, { workload, identity }: ReportingWorkload, max) => {
      run ??= message.run;
      if (run !== "" && !RUN.test(run)) throw new AppError("invalid-argument", "this is no name of a run");
      const { meanings, count, rejected } = readEntries(message, { workload, identity, serviceOf }, max);
      return { meanings, rejected, ...(run === "" || count === 0 ? {} : { numbered: numbersOf(message, run, count) }) };
    },
  };
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

export interface DecisionLogIntakeOptions extends IntakeOptions {
  /** `NAMESPACE/NAME` of the service that an inbound listener of a workload's Envoy serves; empty where there is none. */
  readonly serviceOf: EntrySource["serviceOf"];
}

export interface DecisionLogIntake {
  /** For `server.addService(serviceDefinition(DecisionLog), implementation)`. */
  readonly implementation: UntypedServiceImplementation;
  stats(): IntakeStats;
}

/** Takes in what is reported. A stream without a certificate, or of another workload's, is ended with the status of what `admit` throws. */
export function createDecisionLogIntake({ serviceOf, ...options }: DecisionLogIntakeOptions): DecisionLogIntake {
  const streams = new ReportingStreams(options);
  const Report = (call: ServerDuplexStream<ReportRequest, ReportResponse>): void => {
    void streams.serve(call, { ...streamReader(serviceOf), taken: acknowledge(call) }, (error) => {
      call.once("finish", () => call.destroy());
      if (error === undefined) call.end();
      else call.emit("error", toGrpcStatus(error));
    });
  };
  return { implementation: { Report }, stats: () => streams.stats() };
}
