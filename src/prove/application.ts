/** What every workload of a proof stands before: it answers all that comes. */
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import { createServer as createTcpServer, type Server, type Socket } from "node:net";
import type { Protocol } from "../policy/model.ts";

const SERVED = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nserved";

export class ProvingApplication {
  // It never ends an idle connection, which could be the moment in which a proxy sends a request on it.
  readonly #http = createHttpServer({ keepAliveTimeout: 0 }, (_request, response) => response.end("served"));
  readonly #http2 = createHttp2Server((_request, response) => response.end("served"));
  readonly #tcp = createTcpServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => socket.end(chunk));
  });
  readonly #sockets = new Set<Socket>();
  readonly ports = new Map<Protocol, number>();

  async listen(): Promise<void> {
    // Proxies hand on methods of HTTP/2 that Node's parser does not know: it is not the application that is asked here.
    this.#http.on("clientError", (_error, socket) => socket.end(SERVED));
    const servers: readonly (readonly [Protocol, Server])[] = [
      ["http", this.#http],
      ["http2", this.#http2],
      ["tcp", this.#tcp],
    ];
    for (const [protocol, server] of servers) {
      server.on("connection", (socket: Socket) => this.#sockets.add(socket.once("close", () => this.#sockets.delete(socket))));
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const address = server.address();
      this.ports.set(protocol, typeof address === "object" && address !== null ? address.port : 0);
    }
  }

  close(): void {
    for (const server of [this.#http, this.#http2, this.#tcp]) server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
