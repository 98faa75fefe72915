/** The one table between our errors and gRPC's status codes. What a caller reads is the message alone; the cause stays in the log. */
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { AppError, type ErrorCode } from "../core/error.ts";

const STATUS_OF_CODE = {
  "invalid-argument": status.INVALID_ARGUMENT,
  "invalid-configuration": status.FAILED_PRECONDITION,
  unauthenticated: status.UNAUTHENTICATED,
  "permission-denied": status.PERMISSION_DENIED,
  "not-found": status.NOT_FOUND,
  "already-exists": status.ALREADY_EXISTS,
  "address-in-use": status.UNAVAILABLE,
  "unsafe-permissions": status.FAILED_PRECONDITION,
  unsupported: status.UNIMPLEMENTED,
  "resource-exhausted": status.RESOURCE_EXHAUSTED,
  unavailable: status.UNAVAILABLE,
  "deadline-exceeded": status.DEADLINE_EXCEEDED,
  internal: status.INTERNAL,
} as const satisfies Record<ErrorCode, status>;

/** gRPC's retry design (A6). */
const PUSHBACK = "grpc-retry-pushback-ms";

/** What a gRPC server answers for a failure. An internal error's text is not told. */
export interface GrpcFailure {
  readonly code: status;
  readonly details: string;
  /** Tells when to come back. */
  readonly metadata?: Metadata;
}

export function toGrpcStatus(error: AppError): GrpcFailure {
  const failure = { code: STATUS_OF_CODE[error.code], details: error.code === "internal" ? "internal error" : error.message };
  if (error.retryAfterMs === undefined) return failure;
  const metadata = new Metadata();
  metadata.set(PUSHBACK, String(error.retryAfterMs));
  return { ...failure, metadata };
}

/** Ends a server's stream: with a failure, or well. */
export function endCall(call: { end(): unknown; emit(event: "error", error: Error): boolean }, reason: AppError | undefined): void {
  if (reason === undefined) call.end();
  else call.emit("error", Object.assign(new Error(reason.message), toGrpcStatus(reason)));
}

const CODE_OF_STATUS: ReadonlyMap<status, ErrorCode> = new Map([
  ...Object.entries(STATUS_OF_CODE)
    .map(([code, value]) => [value, code as ErrorCode] as const)
    .reverse(),
  [status.UNAVAILABLE, "unavailable"],
  [status.FAILED_PRECONDITION, "invalid-configuration"],
]);

/** The least wait that a server asks for; undefined where it asks for none. */
function pushbackOf({ metadata }: ServiceError): number | undefined {
  const text = String(metadata.get(PUSHBACK)[0] ?? "");
  return /^\d{1,12}$/.test(text) ? Number(text) : undefined;
}

/** A gRPC client's failure as ours. */
export function fromGrpcError(error: ServiceError): AppError {
  const retryAfterMs = pushbackOf(error);
  const message = error.details === "" ? error.message : error.details;
  return new AppError(CODE_OF_STATUS.get(error.code) ?? "internal", message, {
    cause: error,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
