/** An application behind a proxy, whose answers a test chooses, and that notes what reached it. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

export type Answering = (request: IncomingMessage, response: ServerResponse) => void;

export interface Application {
  readonly port: number;
  /** What reached it, in order: method and URL. */
  readonly seen: string[];
  /** Connections that were opened to it. */
  readonly connections: () => number;
  answer: Answering;
  upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  close(): Promise<void>;
}

/** Answers with what it was sent, as JSON. */
export const echo: Answering = (request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks).toString("latin1");
    const { method, url, headers, rawTrailers } = request;
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ method, url, headers, body, trailers: rawTrailers }));
  });
};

/** Listens on a free port, or on a Unix socket. */
export async function startApplication(path?: string): Promise<Application> {
  const seen: string[] = [];
  let connections = 0;
  const application = { answer: echo, upgrade: (_request: IncomingMessage, socket: Duplex, _head: Buffer) => void socket.destroy() };
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    application.answer(request, response);
  });
  server.on("upgrade", (request, socket, head) => application.upgrade(request, socket, head));
  server.on("connection", () => {
    connections += 1;
  });
  if (path === undefined) server.listen(0, "127.0.0.1");
  else server.listen(path);
  await once(server, "listening");
  return Object.assign(application, {
    port: path === undefined ? (server.address() as AddressInfo).port : 0,
    seen,
    connections: () => connections,
    async close() {
      server.close();
      server.closeAllConnections();
    },
  });
}
