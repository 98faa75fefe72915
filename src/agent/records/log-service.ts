/** `envoy.service.accesslog.v3.AccessLogService` at the agent's socket, for its own Envoy. */
import type { ServerReadableStream, ServiceDefinition, sendUnaryData, UntypedServiceImplementation } from "@grpc/grpc-js";
import { AppError } from "../../core/error.ts";
import { toGrpcStatus } from "../../rpc/status.ts";
import { decodeLogMessage, type LogBlock, type LogMessage } from "./messages.ts";

/** Envoy opens one for each of its threads and each log that something was written to. */
const MAX_STREAMS = 1024;

const NOTHING = Buffer.alloc(0);

const METHODS = {
  StreamAccessLogs: {
    path: "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
    requestStream: true,
    responseStream: false,
    requestDeserialize: decodeLogMessage,
    responseSerialize: () => NOTHING,
    // A server has no use for the other direction.
    requestSerialize: () => NOTHING,
    responseDeserialize: () => undefined,
  },
} as const satisfies ServiceDefinition;

export interface LogService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

/** Whatever the stream says of who writes it is not read: it is the Envoy of this agent. */
export function logService(take: (block: LogBlock) => void): LogService {
  const streams = new Set<unknown>();
  const StreamAccessLogs = (call: ServerReadableStream<LogMessage, void>, answer: sendUnaryData<void>): void => {
    if (streams.size >= MAX_STREAMS) {
      answer(toGrpcStatus(new AppError("resource-exhausted", `${MAX_STREAMS} logs are written, and no more are allowed`)));
      return;
    }
    streams.add(call);
    let log: string | undefined;
    call.on("data", (message: LogMessage) => {
      log ??= message.log ?? "";
      for (const part of message.parts) take({ log, ...part });
    });
    call.on("end", () => answer(null, undefined));
    for (const event of ["error", "close", "cancelled"]) call.on(event, () => streams.delete(call));
  };
  return { definition: METHODS, implementation: { StreamAccessLogs } };
}
