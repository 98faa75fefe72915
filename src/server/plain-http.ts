/** HTTP without TLS, for what is no secret. Whoever can connect may ask, so that requests, connections and their time are bounded, and bodies are not read. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { AppError } from "../core/error.ts";
import { listenHost } from "../core/listen-host.ts";
import type { Logger } from "../core/logger.ts";
import { formatHostPort } from "./listen.ts";

export interface HttpAnswer {
  readonly status: number;
  readonly fields?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

export interface PlainHttpOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** What is wrong where it cannot be served, and what to do where it cannot listen. */
  readonly what: string;
  readonly help: string;
  /** `resource-exhausted` is answered with 429, and whatever else it throws with 503. */
  readonly answer: (request: IncomingMessage) => Promise<HttpAnswer>;
  readonly logger: Logger;
}

export interface PlainHttp {
  readonly port: number;
  close(): void;
}

const MAX_CONNECTIONS = 512;
const TIMEOUT_MS = 10_000;
const LIMITS = {
  maxHeaderSize: 8_192,
  requestTimeout: TIMEOUT_MS,
  headersTimeout: TIMEOUT_MS / 2,
  keepAliveTimeout: TIMEOUT_MS / 2,
  connectionsCheckingInterval: 1_000,
} as const;

function failed(thrown: unknown, { what, logger }: PlainHttpOptions): HttpAnswer {
  const error = AppError.from(thrown);
  if (error.code === "resource-exhausted") return { status: 429, fields: { "retry-after": "1" } };
  logger.log("error", what, { reason: error.message });
  return { status: 503 };
}

async function handle(request: IncomingMessage, response: ServerResponse, options: PlainHttpOptions): Promise<void> {
  const { status, fields = {}, body } = await options.answer(request).catch((thrown: unknown) => failed(thrown, options));
  const length = status === 304 ? {} : { "content-length": String(body?.length ?? 0) };
  response.writeHead(status, { ...length, ...fields });
  response.end(request.method === "HEAD" ? undefined : body);
}

/** Serves until it is closed. Throws `unavailable` where it cannot listen. */
export async function listenHttp(options: PlainHttpOptions): Promise<PlainHttp> {
  const { listen, what, help } = options;
  const server = createServer(LIMITS, (request, response) => void handle(request, response, options));
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(TIMEOUT_MS);
  server.on("clientError", (_error, socket) => socket.destroy());
  try {
    server.listen(listen.port, listenHost(listen.host));
    await once(server, "listening");
  } catch (cause) {
    throw new AppError("unavailable", `${what}: ${AppError.from(cause).message}`, { where: formatHostPort(listen), help, cause });
  }
  const { port } = server.address() as AddressInfo;
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { port, close };
}
