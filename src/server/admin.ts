/** Admin HTTP on a Unix socket in the state folder: who can open the folder may ask. */

import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { AppError, type ErrorCode } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { errorOf } from "./disk-error.ts";

export interface AdminRequest {
  readonly url: URL;
  /** The JSON of the body; undefined where there is none. */
  readonly body: unknown;
}

/** A route answers with a value, which is sent as JSON, or takes the response over and answers undefined. */
export type AdminRoute = (request: AdminRequest, response: ServerResponse) => unknown;

/** By `METHOD /path`. */
export type AdminRoutes = Readonly<Record<string, AdminRoute>>;

const MAX_BODY = 64 * 1024;

const HTTP_STATUS = {
  "invalid-argument": 400,
  "invalid-configuration": 422,
  unauthenticated: 401,
  "permission-denied": 403,
  "not-found": 404,
  "already-exists": 409,
  "address-in-use": 503,
  "unsafe-permissions": 500,
  unsupported: 501,
  "resource-exhausted": 429,
  unavailable: 503,
  "deadline-exceeded": 504,
  internal: 500,
} as const satisfies Record<ErrorCode, number>;

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw new AppError("invalid-argument", `the request body is longer than ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  if (size === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (cause) {
    throw new AppError("invalid-argument", "the request body is not JSON", { cause });
  }
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(value)}\n`);
}

async function answer(routes: AdminRoutes, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://admin");
  const name = `${request.method} ${url.pathname}`;
  const route = Object.hasOwn(routes, name) ? routes[name] : undefined;
  if (route === undefined) throw new AppError("not-found", `there is no \`${name}\``);
  const result = await route({ url, body: await readBody(request) }, response);
  if (result !== undefined) sendJson(response, 200, result);
}

/** The longest path of a socket on every system (unix(7): `sun_path` has 104 to 108 bytes, with its NUL). */
const MAX_SOCKET_PATH = 103;

function listenFailure(socket: string, cause: Error): AppError {
  const length = Buffer.byteLength(socket);
  if (length <= MAX_SOCKET_PATH) return new AppError("unavailable", `cannot listen: ${cause.message}`, { where: socket, cause });
  return new AppError("invalid-argument", `the path of the admin socket has ${length} bytes, which is too long for the system`, {
    where: socket,
    help: `choose a state folder with a shorter path: a socket has at most ${MAX_SOCKET_PATH} bytes`,
    cause,
  });
}

/** Serves the routes on a socket of mode 0600; an old socket of a dead process is replaced. */
export async function serveAdmin(socket: string, routes: AdminRoutes, logger: Logger): Promise<Server> {
  rmSync(socket, { force: true });
  const server = createServer((request, response) => {
    answer(routes, request, response).catch((thrown: unknown) => {
      const error = errorOf(thrown);
      if (error.code === "internal") logger.log("error", "admin request failed", { error: error.message });
      if (response.headersSent) response.destroy();
      else sendJson(response, HTTP_STATUS[error.code], { code: error.code, message: error.message, help: error.help });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(listenFailure(socket, cause)));
    server.listen(socket, resolve);
  });
  chmodSync(socket, 0o600);
  return server;
}
