/**
 * The one error class. Its code is from a closed list, so that a switch over it is exhaustive; what users read is
 * what, where, why and what to do. The cause is for the log and never crosses a wire.
 */

/** Every kind of failure, and nothing else. Maps once to a gRPC status (rpc/status.ts) and once to an exit code (cli/exit.ts). */
export const ERROR_CODES = [
  "invalid-argument",
  "invalid-configuration",
  "unauthenticated",
  "permission-denied",
  "not-found",
  "already-exists",
  "address-in-use",
  "unsafe-permissions",
  "unsupported",
  "resource-exhausted",
  "unavailable",
  "deadline-exceeded",
  "internal",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export interface AppErrorOptions {
  /** What to do about it: one sentence. */
  readonly help?: string;
  /** Where: a file:line:column, an object, an address. */
  readonly where?: string;
  /** Of `resource-exhausted`: the least wait before another attempt, in milliseconds. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** A failure that a user or a caller is told of. `message` is lower case without a full stop, user input in backticks. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  readonly help: string | undefined;
  readonly where: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.help = options.help;
    this.where = options.where;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** Any thrown value as an AppError: itself when it is one, otherwise `internal` with the value as its cause. */
  static from(thrown: unknown): AppError {
    if (thrown instanceof AppError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new AppError("internal", message, { cause: thrown });
  }
}

/** The words a person reads: `where: message`, then the help on a line of its own. */
export function formatError(error: AppError): string {
  const where = error.where === undefined ? "" : `${error.where}: `;
  const help = error.help === undefined ? "" : `\n  help: ${error.help}`;
  return `${where}${error.message}${help}`;
}
