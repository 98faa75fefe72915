/**
 * The HTTPS server that API servers ask before they keep an object. Whoever can connect may ask: an answer depends on the request and tells
 * nothing else, but for which clusters the mesh has. So that nobody's questions crowd out the API servers', all of it is bounded.
 */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import { AppError, type ErrorCode } from "../../core/error.ts";
import { listenHost } from "../../core/listen-host.ts";
import type { Logger } from "../../core/logger.ts";
import type { RotatingTlsMaterial, TlsMaterial } from "../../rpc/credentials.ts";
import { formatHostPort } from "../listen.ts";
import { type AdmissionHandler, readReview, reviewOf } from "./admission-review.ts";

/** By the path that the webhook configuration names; that of another cluster ends in `/cluster/NAME`, as Istio's. */
export type AdmissionHandlers = Readonly<Record<string, AdmissionHandler>>;

export interface WebhookServerOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** The server's certificate; the newest holds for each new connection. */
  readonly material: RotatingTlsMaterial;
  readonly handlers: AdmissionHandlers;
  readonly logger: Logger;
}

export interface WebhookServer {
  readonly port: number;
  close(): Promise<void>;
}

const LIMITS = {
  /** Bytes of a review: an object and its former form, each at most what an API server takes (3 MiB). */
  body: 8 * 1024 * 1024,
  /** Milliseconds for the head of a request, and for all of it. */
  headersMs: 3_000,
  requestMs: 5_000,
  /** How often these are looked at: Node's own 30 s would make them as long. */
  checkingMs: 1_000,
  keepAliveMs: 60_000,
  connections: 200,
} as const;

const HTTP_STATUS: Readonly<Partial<Record<ErrorCode, number>>> = {
  "invalid-argument": 400,
  "not-found": 404,
  unsupported: 405,
  "resource-exhausted": 413,
};

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const tooLong = (): AppError => new AppError("resource-exhausted", `the review is longer than ${LIMITS.body} bytes`);
  if (Number(request.headers["content-length"] ?? 0) > LIMITS.body) throw tooLong();
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > LIMITS.body) throw tooLong();
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (cause) {
    throw new AppError("invalid-argument", "the body is not JSON", { cause });
  }
}

/** A cluster's name is a key of a Secret. */
const OF_CLUSTER = /^(\/[a-z]+)\/cluster\/([-._a-zA-Z0-9]{1,128})$/;

/** Where a kubelet asks whether the control plane serves: webhooks are the last that it opens. */
const READY = "/readyz";

async function answer(handlers: AdmissionHandlers, request: IncomingMessage): Promise<unknown> {
  // The API server adds `?timeout=`.
  const path = (request.url ?? "").split("?", 1)[0] ?? "";
  if (path === READY && request.method === "GET") return { ready: true };
  const [, base = path, cluster] = OF_CLUSTER.exec(path) ?? [];
  const handler = Object.hasOwn(handlers, base) ? handlers[base] : undefined;
  if (handler === undefined) throw new AppError("not-found", "there is no such webhook");
  if (request.method !== "POST") throw new AppError("unsupported", "a review is sent by POST");
  const review = readReview(await bodyOf(request), cluster);
  return reviewOf(review.uid, handler(review));
}

function send(response: ServerResponse, status: number, value: unknown): void {
  const text = JSON.stringify(value);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

/** A handler that fails is the webhook's failure: what then becomes of the object is the webhook configuration's to say. */
function refuse(request: IncomingMessage, response: ServerResponse, thrown: unknown, logger: Logger): void {
  const error = AppError.from(thrown);
  const status = HTTP_STATUS[error.code] ?? 500;
  if (status === 500) logger.log("error", "a review failed", { path: request.url?.slice(0, 100) ?? "", reason: error.message });
  if (response.headersSent || response.destroyed) response.destroy();
  // What is left of a body is not read.
  else send(response.setHeader("connection", "close"), status, { message: error.message });
}

/** Takes each new certificate into use; what cannot be used leaves the one before. Returns what ends it. */
function followMaterial(server: Server, material: RotatingTlsMaterial, logger: Logger): () => void {
  return material.onUpdate(({ key, chain }) => {
    try {
      server.setSecureContext({ key, cert: chain });
    } catch (error) {
      logger.log("error", "the webhooks' certificate was not replaced", { reason: AppError.from(error).message });
    }
  });
}

function serverWith({ key, chain }: TlsMaterial, { handlers, logger }: WebhookServerOptions): Server {
  const { headersMs, requestMs: requestTimeout, keepAliveMs: keepAliveTimeout, checkingMs: connectionsCheckingInterval } = LIMITS;
  const times = { headersTimeout: headersMs, handshakeTimeout: headersMs, requestTimeout, keepAliveTimeout, connectionsCheckingInterval };
  const server = createServer({ key, cert: chain, minVersion: "TLSv1.2", ...times }, (request, response) => {
    answer(handlers, request).then(
      (review) => send(response, 200, review),
      (thrown: unknown) => refuse(request, response, thrown, logger),
    );
  });
  server.maxConnections = LIMITS.connections;
  // Whoever keeps connections without asking anything makes room for who does, be it the kubelet.
  server.on("drop", () => server.closeIdleConnections());
  return server;
}

/** Serves the handlers. Throws `unavailable` where nothing can listen, or there is no certificate yet. */
export async function serveWebhooks(options: WebhookServerOptions): Promise<WebhookServer> {
  const { listen, material, logger } = options;
  const where = formatHostPort(listen);
  if (material.current === undefined) throw new AppError("unavailable", "there is no certificate for the webhooks yet", { where });
  const server = serverWith(material.current, options);
  const unfollow = followMaterial(server, material, logger);
  try {
    await once(server.listen(listen.port, listenHost(listen.host)), "listening");
  } catch (cause) {
    unfollow();
    throw new AppError("unavailable", `cannot listen for webhooks: ${AppError.from(cause).message}`, { where, cause });
  }
  const address = server.address();
  const close = async (): Promise<void> => {
    unfollow();
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    await closed;
  };
  return { port: typeof address === "object" && address !== null ? address.port : listen.port, close };
}
