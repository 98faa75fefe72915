/** The one table between our errors and gRPC's status codes. What a caller reads is the message alone; the cause stays in the log. */
import { type ServiceError, status } from "@grpc/grpc-js";
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

/** What a gRPC server answers for a failure. An internal error's text is not told. */
export function toGrpcStatus(error: AppError): { readonly code: status; readonly details: string } {
  return { code: STATUS_OF_CODE[error.code], details: error.code === "internal" ? "internal error" : error.message };
}

const CODE_OF_STATUS: ReadonlyMap<status, ErrorCode> = new Map([
  ...Object.entries(STATUS_OF_CODE)
    .map(([code, value]) => [value, code as ErrorCode] as const)
    .reverse(),
  [status.UNAVAILABLE, "unavailable"],
  [status.FAILED_PRECONDITION, "invalid-configuration"],
]);

/** A gRPC client's failure as ours. */
export function fromGrpcError(error: ServiceError): AppError {
  return new AppError(CODE_OF_STATUS.get(error.code) ?? "internal", error.details === "" ? error.message : error.details, { cause: error });
}
