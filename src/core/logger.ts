/** The port through which everything logs. Fields are plain values; a secret is never one of them. */

export type LogLevel = "debug" | "info" | "warn" | "error";

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
}

/** For tests and tools that have nobody to tell. */
export const silentLogger: Logger = { log: () => undefined };
