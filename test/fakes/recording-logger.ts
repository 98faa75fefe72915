/** A logger that keeps what it is told. */
import type { LogFields, Logger, LogLevel } from "../../src/core/logger.ts";

export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

export class RecordingLogger implements Logger {
  readonly lines: LogLine[] = [];
  readonly #watchers = new Set<() => void>();

  log(level: LogLevel, message: string, fields: LogFields = {}): void {
    this.lines.push({ level, message, fields });
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** The messages in their order, each with its level. */
  get messages(): readonly string[] {
    return this.lines.map(({ level, message }) => `${level}: ${message}`);
  }

  /** The nth line with that message (from 1), when it comes. Rejects after `timeoutMs` with what came instead. */
  line(message: string, count = 1, timeoutMs = 20_000): Promise<LogLine> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = this.lines.filter((line) => line.message === message)[count - 1];
        if (found === undefined) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve(found);
      };
      const timer = setTimeout(() => {
        this.#watchers.delete(look);
        reject(new Error(`no line ${count} of \`${message}\`, but:\n${this.lines.map((line) => JSON.stringify(line)).join("\n")}`));
      }, timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }
}
