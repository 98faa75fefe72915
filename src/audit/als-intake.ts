/** `envoy.service.accesslog.v3.AccessLogService`: what Envoys report themselves, where no agent passes it on. */
import { create } from "@bufbuild/protobuf";
import type { ServerReadableStream, sendUnaryData, UntypedServiceImplementation } from "@grpc/grpc-js";
import {
  type StreamAccessLogsMessage,
  type StreamAccessLogsResponse,
  StreamAccessLogsResponseSchema,
} from "../gen/envoy/service/accesslog/v3/als_pb.js";
import { toGrpcStatus } from "../rpc/status.ts";
import { readHttpEntry, readTcpEntry } from "./als-entry.ts";
import type { EntrySource } from "./als-fields.ts";
import type { EntryMeaning } from "./record.ts";
import {
  type IntakeOptions,
  type IntakeStats,
  type NodeClaim,
  type Reported,
  ReportingStreams,
  type ReportReader,
} from "./reporting-stream.ts";

export interface AlsIntakeOptions extends IntakeOptions {
  /** `NAMESPACE/NAME` of the service that an inbound listener of a workload serves; empty where there is none. */
  readonly serviceOf: EntrySource["serviceOf"];
}

export interface AlsIntake {
  /** For `server.addService(serviceDefinition(AccessLogService), implementation)`. */
  readonly implementation: UntypedServiceImplementation;
  stats(): IntakeStats;
}

function nodeOf({ identifier }: StreamAccessLogsMessage): NodeClaim | undefined {
  const node = identifier?.node;
  return node === undefined ? undefined : { id: node.id, metadata: node.metadata };
}

function meaningsOf(
  { logEntries }: StreamAccessLogsMessage,
  from: EntrySource,
  max: number,
): { readonly meanings: readonly EntryMeaning[]; readonly entries: number } {
  const { case: kind, value } = logEntries;
  if (kind === undefined) return { meanings: [], entries: 0 };
  const meanings =
    kind === "httpLogs"
      ? value.logEntry.slice(0, max).map((entry) => readHttpEntry(entry, from))
      : value.logEntry.slice(0, max).map((entry) => readTcpEntry(entry, from));
  return { meanings, entries: value.logEntry.length };
}

/** Reads the messages of one stream, whose log is named in the first of them. */
function streamReader(serviceOf: EntrySource["serviceOf"]): ReportReader<StreamAccessLogsMessage> {
  let log: string | undefined;
  return {
    nodeOf,
    read: (message, { workload, identity }, max): Reported => {
      log ??= message.identifier?.logName ?? "";
      const { meanings, entries } = meaningsOf(message, { workload, identity, log, serviceOf }, max);
      return { meanings, rejected: entries - meanings.length };
    },
  };
}

/** Takes in what Envoys report. A stream without a certificate, or of another workload's, is ended with the status of what `admit` throws. */
export function createAlsIntake({ serviceOf, ...options }: AlsIntakeOptions): AlsIntake {
  const streams = new ReportingStreams(options);
  const StreamAccessLogs = (
    call: ServerReadableStream<StreamAccessLogsMessage, StreamAccessLogsResponse>,
    respond: sendUnaryData<StreamAccessLogsResponse>,
  ): void => {
    void streams.serve(call, streamReader(serviceOf), (error) => {
      if (error === undefined) return respond(null, create(StreamAccessLogsResponseSchema));
      respond(toGrpcStatus(error));
      call.destroy();
    });
  };
  return { implementation: { StreamAccessLogs }, stats: () => streams.stats() };
}
