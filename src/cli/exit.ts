/** What the process says by its exit code; one table for all commands. */
import type { ErrorCode } from "../core/error.ts";

export const EXIT = {
  ok: 0,
  /** The command did its work, and the answer is no: a check failed, a row was not as expected. */
  no: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The configuration is wrong. */
  configuration: 3,
  /** Something else is in the way: a port in use, a folder that others can read, a control plane that is away. */
  environment: 4,
  /** The command did its work, and there is neither a yes nor a no: it hangs on what nobody here knows. */
  unknown: 5,
  internal: 70,
} as const;

export type ExitCode = number;

const EXIT_OF_ERROR = {
  "invalid-argument": EXIT.usage,
  "invalid-configuration": EXIT.configuration,
  unauthenticated: EXIT.environment,
  "permission-denied": EXIT.environment,
  "not-found": EXIT.environment,
  "already-exists": EXIT.environment,
  "address-in-use": EXIT.environment,
  "unsafe-permissions": EXIT.environment,
  unsupported: EXIT.environment,
  "resource-exhausted": EXIT.environment,
  unavailable: EXIT.environment,
  "deadline-exceeded": EXIT.environment,
  internal: EXIT.internal,
} as const satisfies Record<ErrorCode, ExitCode>;

/** The exit code of a failure. */
export function exitCodeOf(code: ErrorCode): ExitCode {
  return EXIT_OF_ERROR[code];
}
