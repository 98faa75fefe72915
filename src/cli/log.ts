/** The log of every process: one line an event, on standard error. */
import type { LogFields, Logger, LogLevel } from "../core/logger.ts";

const ORDER = { debug: 0, info: 1, warn: 2, error: 3 } as const satisfies Record<LogLevel, number>;

/** Control characters and quotes never reach a terminal or a log reader as they are. */
function printable(value: string | number | boolean): string {
  const text = String(value);
  return /^[\w./:@*+,[\]()-]+$/.test(text) ? text : JSON.stringify(text);
}

/** `TIME level message key=value …`. */
export function formatLogLine(time: number, level: LogLevel, message: string, fields: LogFields = {}): string {
  const pairs = Object.entries(fields).flatMap(([key, value]) => (value === undefined ? [] : [` ${key}=${printable(value)}`]));
  return `${new Date(time).toISOString()} ${level.padEnd(5)} ${message.replaceAll(/\p{Cc}/gu, " ")}${pairs.join("")}\n`;
}

/** A logger that writes lines of `least` and above. */
export function createLogger(least: LogLevel, write: (line: string) => void = (line) => process.stderr.write(line)): Logger {
  return {
    log: (level, message, fields) => {
      if (ORDER[level] >= ORDER[least]) write(formatLogLine(Date.now(), level, message, fields));
    },
  };
}
