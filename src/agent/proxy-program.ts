/** The programs that can be a workload's proxy: how each is started, asked whether it is ready, and told to finish. */
import { accessSync, constants } from "node:fs";
import { AppError } from "../core/error.ts";
import type { LogLevel } from "../core/logger.ts";
import { requestOverSocket } from "./unix-http.ts";

export interface ProxyProgram {
  readonly kind: "envoy" | "embedded";
  readonly command: readonly [string, ...string[]];
  /** A Unix socket that answers `GET /ready` with 200 when every listener serves. */
  readonly readySocket: string;
  readonly parseLine: (line: string) => { readonly level: LogLevel; readonly text: string };
  /** Asks it to take no new work. It is done when `isIdle` says so. */
  readonly drain: () => Promise<void>;
  readonly isIdle: () => Promise<boolean>;
  /** How long what it has recorded may lie in it, and would be lost with it (ms). */
  readonly flushMs: number;
}

/** Twice the time after which its access logs are written: on SIGTERM it writes nothing more. */
const ENVOY_FLUSH_MS = 200;
const ASK_TIMEOUT_MS = 2_000;

/** Whether the proxy answers that it is ready; one that cannot be asked is not. */
export async function isReady(program: ProxyProgram): Promise<boolean> {
  const asked = requestOverSocket({ socket: program.readySocket, method: "GET", path: "/ready", timeoutMs: ASK_TIMEOUT_MS });
  return asked.then(
    ({ status }) => status === 200,
    () => false,
  );
}

const ENVOY_LINE = /^\[(trace|debug|info|warning|error|critical)\]\[([^\]]*)\] (.*)$/;
const LEVEL_OF_ENVOY: Readonly<Record<string, LogLevel>> = {
  trace: "debug",
  debug: "debug",
  info: "info",
  warning: "warn",
  error: "error",
  critical: "error",
};

function parseEnvoyLine(line: string): { level: LogLevel; text: string } {
  const [, level = "", component, text] = ENVOY_LINE.exec(line) ?? [];
  return text === undefined ? { level: "info", text: line } : { level: LEVEL_OF_ENVOY[level] ?? "info", text: `${component}: ${text}` };
}

/** Requests and connections that Envoy carries for others; its admin's own do not count. */
const ACTIVE = /^(?:http\.(?!admin\.).*\.downstream_rq_active|tcp\..*\.downstream_cx_active): (\d+)$/gm;

export interface EnvoyOptions {
  readonly path: string;
  readonly bootstrapFile: string;
  readonly adminSocket: string;
  readonly concurrency: number;
}

/**
 * Envoy, unmodified. `--drain-strategy immediate` with one second: what a changed listener or a stop ends, ends at
 * once instead of over ten minutes. Throws `not-found` where there is no program at `path`.
 */
export function envoyProgram({ path, bootstrapFile, adminSocket, concurrency }: EnvoyOptions): ProxyProgram {
  try {
    accessSync(path, constants.X_OK);
  } catch (cause) {
    throw new AppError("not-found", `there is no Envoy to run at \`${path}\``, {
      cause,
      help: "set ENVOY_PATH, or use the embedded proxy",
    });
  }
  const ask = (method: "GET" | "POST", request: string) =>
    requestOverSocket({ socket: adminSocket, method, path: request, timeoutMs: ASK_TIMEOUT_MS });
  return {
    kind: "envoy",
    // biome-ignore format: a flag and its value belong on one line
    command: [
      path,
      "-c", bootstrapFile,
      "--concurrency", String(concurrency),
      "--disable-hot-restart",
      "--drain-strategy", "immediate",
      "--drain-time-s", "1",
      "--log-level", "warn",
      "--log-format", "[%l][%n] %v",
      "--log-format-escaped",
    ],
    readySocket: adminSocket,
    parseLine: parseEnvoyLine,
    async drain() {
      await ask("POST", "/drain_listeners?graceful");
    },
    async isIdle() {
      const { body } = await ask("GET", "/stats?usedonly&filter=downstream_(rq|cx)_active$");
      return [...body.matchAll(ACTIVE)].every(([, active]) => active === "0");
    },
    flushMs: ENVOY_FLUSH_MS,
  };
}

export interface EmbeddedOptions {
  readonly command: readonly string[];
  readonly bootstrapFile: string;
  readonly readySocket: string;
}

/** `TIME level words`, as all of Garrison's processes log. */
const OWN_LINE = /^\S+Z (debug|info|warn|error) +(.*)$/;

/** How a command of ours begins to say why it cannot go on. */
const LAST_WORDS = "garrison: ";

function parseOwnLine(line: string): { level: LogLevel; text: string } {
  const [, level, text] = OWN_LINE.exec(line) ?? [];
  if (text === undefined) return { level: line.startsWith(LAST_WORDS) ? "error" : "info", text: line };
  return { level: level as LogLevel, text };
}

/** Garrison's own proxy: `COMMAND --bootstrap FILE`. It drains by itself when it is terminated. Throws `invalid-argument` for an empty command. */
export function embeddedProgram({ command: [program, ...args], bootstrapFile, readySocket }: EmbeddedOptions): ProxyProgram {
  if (program === undefined) throw new AppError("invalid-argument", "the command of the embedded proxy is empty");
  return {
    kind: "embedded",
    command: [program, ...args, "--bootstrap", bootstrapFile],
    readySocket,
    parseLine: parseOwnLine,
    drain: () => Promise.resolve(),
    isIdle: () => Promise.resolve(true),
    flushMs: 0,
  };
}
