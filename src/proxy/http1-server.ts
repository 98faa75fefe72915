/** HTTP/1.1 from clients, by Node's strict parser. */
import type { IncomingMessage, ServerResponse as Response, Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex, Readable } from "node:stream";
import { AppError } from "../core/error.ts";
import type { Downstream, Exchange } from "./exchange.ts";
import { sanitizeTrailers } from "./headers.ts";
import type { Limits } from "./limits.ts";
import type { HeaderList, ResponseHead, Upgraded } from "./message.ts";
import { createServer, ServerResponse, STATUS_CODES } from "./node-http.ts";
import type { RawRequest } from "./request-check.ts";
import { type Tunnel, tunnel } from "./tunnel.ts";

/** Takes one request; `connection` is what was handed over with its socket. */
export type HttpHandler<Connection> = (raw: RawRequest, downstream: Downstream, connection: Connection) => void;

export interface HttpServerOptions<Connection> {
  readonly limits: Limits;
  readonly handle: HttpHandler<Connection>;
  /** A message that no parser accepts. */
  readonly onMalformed: (reason: string, status: number, connection: Connection) => void;
}

/** What the request was when Node took its upgrade for one: the bytes behind its head. */
interface Upgrading {
  readonly socket: Socket;
  readonly early: Buffer;
  readonly idleMs: number;
  /** Called when the connection has become a tunnel. */
  readonly onTunnel: () => void;
}

class Http1Downstream implements Downstream {
  readonly body: Readable;
  readonly #request: IncomingMessage;
  readonly #response: Response;
  readonly #upgrading: Upgrading | undefined;

  constructor(request: IncomingMessage, response: Response, upgrading: Upgrading | undefined) {
    this.body = request;
    this.#request = request;
    this.#response = response;
    this.#upgrading = upgrading;
    response.sendDate = false;
  }

  get closed(): boolean {
    return this.#response.destroyed;
  }

  attach(exchange: Exchange): void {
    this.#response.on("drain", () => exchange.onDrain());
    this.#response.on("close", () => exchange.onClosed());
  }

  trailers(): HeaderList {
    return sanitizeTrailers(this.#request.rawTrailers);
  }

  head({ status, headers }: ResponseHead): void {
    this.#response.writeHead(status, headers as string[]);
  }

  last(): void {
    this.#response.shouldKeepAlive = false;
  }

  data(chunk: Buffer): boolean {
    return this.#response.write(chunk);
  }

  end(trailers: HeaderList): void {
    if (trailers.length > 0) this.#response.addTrailers(pairs(trailers));
    this.#response.end();
    if (!this.#request.complete && announcesBody(this.#request)) this.#dropRest();
  }

  /** The rest of the body stands before the client's next request, and a client that still sends might miss the answer. */
  #dropRest(): void {
    let left = MAX_DROPPED_BYTES;
    this.#request.on("data", (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) this.#request.destroy();
    });
    this.#request.resume();
  }

  abort(): void {
    this.#response.destroy();
  }

  continue(): void {
    this.#response.writeContinue();
  }

  upgrade(headers: HeaderList, { socket: endpoint, first }: Upgraded): Tunnel {
    if (this.#upgrading === undefined) throw new TypeError("the request did not ask for an upgrade");
    const { socket, early, idleMs, onTunnel } = this.#upgrading;
    this.#response.detachSocket(socket);
    onTunnel();
    const fields = pairs(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`HTTP/1.1 101 ${STATUS_CODES[101]}\r\nconnection: upgrade\r\nupgrade: websocket\r\n${fields.join("")}\r\n`, "latin1");
    return tunnel(socket, endpoint, idleMs, early, first);
  }
}

/** Of a body that nobody wants, as much is read as a client may have sent before it got the answer. */
const MAX_DROPPED_BYTES = 1 << 20;

function announcesBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

function pairs(headers: HeaderList): [string, string][] {
  const list: [string, string][] = [];
  for (let index = 0; index < headers.length; index += 2) list.push([headers[index] ?? "", headers[index + 1] ?? ""]);
  return list;
}

/** Closed at once with bytes unread, the connection would be reset, and the client might lose the answer (as Envoy's delayed close). */
const DELAYED_CLOSE_MS = 1_000;

function closeSoon(socket: Duplex): void {
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), DELAYED_CLOSE_MS);
  socket.once("close", () => clearTimeout(timer));
}

/** A connection with a request under way, and those that came before its answer. */
interface Busy {
  readonly response: Response;
  readonly waiting: { readonly request: IncomingMessage; readonly response: Response }[];
}

/** Clients that do not wait for answers send a few requests; what one read may bring is thousands. */
const MAX_WAITING = 100;

/** What Node's parser says of a message, as the status that the client gets. */
function statusOf(code: string): number {
  if (code === "HPE_HEADER_OVERFLOW") return 431;
  return code === "ERR_HTTP_REQUEST_TIMEOUT" ? 408 : 400;
}

/** Serves sockets that are handed to it; it listens nowhere itself. */
export class Http1Server<Connection> {
  readonly #server: Server;
  readonly #options: HttpServerOptions<Connection>;
  readonly #connections = new WeakMap<Duplex, { readonly connection: Connection; readonly scheme: "http" | "https" }>();

  constructor(options: HttpServerOptions<Connection>, webSockets: boolean) {
    const { limits } = options;
    this.#options = options;
    this.#server = createServer({
      maxHeaderSize: limits.headBytes,
      insecureHTTPParser: false,
      requireHostHeader: false,
      headersTimeout: limits.headMs,
      // A long upload is not an attack while it moves; the idle time ends the others.
      requestTimeout: 0,
      keepAliveTimeout: limits.idleMs,
      connectionsCheckingInterval: Math.min(limits.headMs, 5_000),
      noDelay: true,
      // Any other upgrade (h2c) is not taken: the request goes on without it, as in Envoy.
      shouldUpgradeCallback: (request) => webSockets && request.headers.upgrade?.toLowerCase() === "websocket",
    });
    this.#server.timeout = limits.idleMs;
    this.#server.maxHeadersCount = 0;
    this.#server.on("request", (request, response) => this.#take(request, response));
    // With this listener Node leaves `100 Continue` to us: a denied request gets none.
    this.#server.on("checkContinue", (request, response) => this.#take(request, response));
    // Without this one, Node answers other expectations itself, and nobody would hear of them.
    this.#server.on("checkExpectation", (request, response) => this.#take(request, response));
    this.#server.on("upgrade", (request, socket, early) => this.#upgrade(request, socket as Socket, early));
    this.#server.on("connect", (request, socket) => this.#takeDetached(request, socket as Socket, undefined));
    this.#server.on("clientError", (error, socket) => this.#malformed(error, socket));
    // The checks of header and idle time begin with this event, which a server that does not listen never has.
    this.#server.emit("listening");
  }

  readonly #busy = new Map<Duplex, Busy>();
  #draining = false;

  /** Takes over a connection from which nothing has been read, or what was read has been put back. */
  serve(socket: Socket, connection: Connection, scheme: "http" | "https"): void {
    this.#connections.set(socket, { connection, scheme });
    this.#server.emit("connection", socket);
    // It was paused while its first bytes were looked at.
    socket.resume();
  }

  /** Ends a connection: now if no request is under way, otherwise after it. */
  retire(socket: Socket): void {
    const busy = this.#busy.get(socket);
    if (busy === undefined) socket.destroy();
    else busy.response.shouldKeepAlive = false;
  }

  /** Ends every connection, after its request if one is under way. */
  drain(): void {
    this.#draining = true;
    for (const { response } of this.#busy.values()) response.shouldKeepAlive = false;
    this.#server.closeIdleConnections();
  }

  /** Ends every connection at once. */
  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** One request after the other, in their order (RFC 9112 §9.3.2): no connection has more than one under way. */
  #take(request: IncomingMessage, response: Response): void {
    const { socket } = request;
    const busy = this.#busy.get(socket);
    if (busy === undefined) this.#begin(request, response);
    else if (busy.waiting.length < MAX_WAITING) busy.waiting.push({ request, response });
    else this.#refuse(socket, `more than ${MAX_WAITING} requests before an answer`);
  }

  /** What may follow a response that ends its connection is not even looked at (RFC 9112 §9.6). */
  #next(socket: Socket, { response, waiting }: Busy): void {
    this.#busy.delete(socket);
    const [next, ...others] = waiting;
    if (next === undefined || !response.shouldKeepAlive || socket.destroyed) return;
    this.#begin(next.request, next.response);
    this.#busy.get(socket)?.waiting.push(...others);
  }

  #begin(request: IncomingMessage, response: Response, upgrading?: Upgrading): void {
    const { socket } = request;
    const known = this.#connections.get(socket);
    if (known === undefined) {
      socket.destroy();
      return;
    }
    if (this.#draining) response.shouldKeepAlive = false;
    const busy: Busy = { response, waiting: [] };
    this.#busy.set(socket, busy);
    response.once("close", () => this.#next(socket, busy));
    const raw: RawRequest = {
      version: request.httpVersionMinor === 1 ? "1.1" : "1.0",
      method: request.method ?? "",
      target: request.url ?? "",
      authority: undefined,
      scheme: known.scheme,
      headers: request.rawHeaders,
      ended: false,
      webSocket: upgrading !== undefined,
    };
    try {
      this.#options.handle(raw, new Http1Downstream(request, response, upgrading), known.connection);
    } catch (thrown) {
      // Whatever it is, it ends this connection and not the proxy.
      this.#options.onMalformed(AppError.from(thrown).message, 0, known.connection);
      socket.destroy();
    }
  }

  #upgrade(request: IncomingMessage, socket: Socket, early: Buffer): void {
    const { idleMs } = this.#options.limits;
    // A tunnel is no response that will end: it is retired like a connection that has none.
    const onTunnel = () => this.#busy.delete(socket);
    this.#takeDetached(request, socket, { socket, early, idleMs, onTunnel });
  }

  /** Node has let go of the socket: whatever is answered, the connection ends with it, or becomes a tunnel. */
  #takeDetached(request: IncomingMessage, socket: Socket, upgrading: Upgrading | undefined): void {
    if (this.#busy.has(socket)) {
      // The answer before it has the socket, and what would come behind that one is no HTTP.
      this.#refuse(socket, `${request.method} before an answer`);
      return;
    }
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.on("finish", () => closeSoon(socket.end()));
    socket.on("error", () => socket.destroy());
    // Until it is a tunnel nobody else looks whether the client is still there.
    socket.setTimeout(this.#options.limits.idleMs, () => socket.destroy());
    socket.once("end", () => {
      if (response.socket === socket && !response.writableEnded) socket.destroy();
    });
    // Of a socket that became a tunnel the response does not hear any more.
    socket.once("close", () => this.#busy.delete(socket));
    this.#begin(request, response, upgrading);
  }

  #refuse(socket: Socket, reason: string): void {
    const known = this.#connections.get(socket);
    if (known !== undefined) this.#options.onMalformed(reason, 0, known.connection);
    socket.on("error", () => undefined).destroy();
  }

  #malformed(error: Error & { readonly code?: string }, socket: Duplex): void {
    // Already answered: what else arrives is not listened to.
    if (socket.writableEnded) return;
    const code = error.code ?? "unknown";
    const known = this.#connections.get(socket);
    if (code === "ECONNRESET" || known === undefined || !socket.writable) {
      socket.destroy();
      return;
    }
    const inAnswer = this.#busy.get(socket)?.response.headersSent === true;
    const status = inAnswer ? 0 : statusOf(code);
    this.#options.onMalformed(code, status, known.connection);
    if (inAnswer) {
      socket.destroy();
      return;
    }
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
    closeSoon(socket);
  }
}
