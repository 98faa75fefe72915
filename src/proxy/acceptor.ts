/** One listening socket, whose connections go to whatever is in force at the moment. */

import { once } from "node:events";
import { rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { AppError } from "../core/error.ts";
import type { Endpoint } from "../policy/model.ts";

/** `HOST:PORT` or `unix:PATH`; the same text, the same listener. */
export function formatEndpoint(endpoint: Endpoint): string {
  if (endpoint.kind === "unix") return `unix:${endpoint.path}`;
  return endpoint.host.includes(":") ? `[${endpoint.host}]:${endpoint.port}` : `${endpoint.host}:${endpoint.port}`;
}

function bindError(error: NodeJS.ErrnoException, bind: Endpoint): AppError {
  const where = formatEndpoint(bind);
  if (error.code === "EADDRINUSE") {
    return new AppError("address-in-use", `cannot listen on \`${where}\`: something else does`, {
      where,
      help: "stop what listens there, or change the port in the Sidecar",
      cause: error,
    });
  }
  if (error.code === "EACCES") {
    return new AppError("permission-denied", `cannot listen on \`${where}\`: not allowed`, {
      where,
      help: "ports below 1024 need privileges: choose a higher one, or grant CAP_NET_BIND_SERVICE",
      cause: error,
    });
  }
  return new AppError("unavailable", `cannot listen on \`${where}\`: ${error.code ?? error.message}`, {
    where,
    help: "the address must be one of this machine's own",
    cause: error,
  });
}

/** Whether a socket file is one that a killed process left: there, and nobody answers. */
async function isLeftBehind(path: string): Promise<boolean> {
  const probe = connect(path);
  try {
    await once(probe, "connect");
    return false;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === "ECONNREFUSED";
  } finally {
    probe.destroy();
  }
}

async function listen(server: Server, bind: Endpoint): Promise<void> {
  server.listen(bind.kind === "unix" ? { path: bind.path } : { host: bind.host, port: bind.port });
  await once(server, "listening");
}

export class Acceptor {
  readonly bind: Endpoint;
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  private constructor(bind: Endpoint, server: Server) {
    this.bind = bind;
    this.#server = server;
    // Too many open files, for one: the next connection may be accepted again, and an error that nobody hears ends the process.
    server.on("error", () => undefined);
    server.on("connection", (socket: Socket) => {
      this.#open.add(socket);
      socket.once("close", () => this.#open.delete(socket));
      this.onConnection(socket);
    });
  }

  /** Listens. Throws `address-in-use`, `permission-denied`, `unavailable`. */
  static async listen(bind: Endpoint, maxConnections: number): Promise<Acceptor> {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    server.maxConnections = maxConnections;
    try {
      if (bind.kind === "unix" && (await isLeftBehind(bind.path))) rmSync(bind.path);
      await listen(server, bind);
    } catch (thrown) {
      throw bindError(thrown as NodeJS.ErrnoException, bind);
    }
    return new Acceptor(bind, server);
  }

  /** Takes each connection; until it is set they are refused. */
  onConnection: (socket: Socket) => void = (socket) => socket.destroy();

  /** The port that it really listens on; 0 for a Unix socket. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** Ends every open connection. */
  disconnect(): void {
    for (const socket of this.#open) socket.destroy();
  }

  /** Takes no more connections. Resolves when all are closed. */
  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    await promise;
  }

  /** Stops listening and ends every connection. */
  close(): void {
    this.#server.close();
    this.disconnect();
  }
}
