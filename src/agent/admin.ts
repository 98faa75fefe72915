/** The agent's own HTTP interface, on a Unix socket of its run folder: `GET /status`, `GET /ready`, `POST /renew`. */
import type { Server, ServerResponse } from "node:http";
import { AppError, type ErrorCode } from "../core/error.ts";
import { createServer } from "./node-http.ts";
import { cannotListen, claimSocket, closeToOthers } from "./run-folder.ts";
import type { AgentStatus } from "./status.ts";

/** What a renewal on demand came to. */
export interface Renewal {
  readonly serial: string;
  /** ISO 8601. */
  readonly notAfter: string;
  /** How many SDS streams have taken the new certificate; 0 where no proxy is connected. */
  readonly acceptedBy: number;
}

export interface AdminHandlers {
  readonly status: () => Promise<AgentStatus>;
  readonly renew: () => Promise<Renewal>;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const REQUEST_TIMEOUT_MS = 5_000;
const MAX_CONNECTIONS = 32;

/** Where the reason lies elsewhere it is a bad gateway; the message tells the rest. */
const STATUS_OF_CODE: ReadonlyMap<ErrorCode, number> = new Map([
  ["unavailable", 503],
  ["deadline-exceeded", 504],
  ["internal", 500],
]);

function failure(thrown: unknown): Answer {
  const { code, message, help } = AppError.from(thrown);
  return { status: STATUS_OF_CODE.get(code) ?? 502, body: { error: { code, message, ...(help === undefined ? {} : { help }) } } };
}

async function answerTo(request: string, { status, renew }: AdminHandlers): Promise<Answer> {
  switch (request) {
    case "GET /status":
      return { status: 200, body: await status() };
    case "GET /ready": {
      const { ready, certificate, proxy } = await status();
      return { status: ready ? 200 : 503, body: { ready, certificate: certificate.state, proxy: proxy.state } };
    }
    case "POST /renew":
      return { status: 200, body: await renew() };
    default:
      return { status: 404, body: { error: { code: "not-found", message: "ask for GET /status, GET /ready or POST /renew" } } };
  }
}

function send(response: ServerResponse, { status, body }: Answer): void {
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
  response.end(`${JSON.stringify(body)}\n`);
}

/** Serves the handlers at the socket (0600). Throws `address-in-use` where another agent does. */
export async function startAdmin(socket: string, handlers: AdminHandlers): Promise<Server> {
  const times = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: 1_000 };
  const server = createServer(times, (request, response) => {
    request.resume();
    answerTo(`${request.method} ${request.url}`, handlers).then(
      (answer) => send(response, answer),
      (thrown) => send(response, failure(thrown)),
    );
  });
  server.maxConnections = MAX_CONNECTIONS;
  await claimSocket(socket);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(cannotListen(socket, cause)));
    server.listen(socket, resolve);
  });
  closeToOthers(socket);
  return server;
}
