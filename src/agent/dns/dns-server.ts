/** Where questions of DNS come in, by UDP and TCP; on loopback alone, so that nobody else can have anything asked. */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { AppError } from "../../core/error.ts";

/** The answer to a message; undefined for what is none to be answered. Never rejects. */
export type AnswerQuery = (bytes: Buffer, transport: "udp" | "tcp") => Promise<Buffer | undefined>;

export interface DnsServerOptions {
  /** 0 takes a free one, the same for all. */
  readonly port: number;
  readonly answer: AnswerQuery;
}

export interface DnsListener {
  readonly port: number;
  close(): void;
}

const ADDRESSES = ["127.0.0.1", "::1"] as const;
const MAX_CONNECTIONS = 128;
const IDLE_MS = 10_000;
/** Of UDP; what comes when so many wait is dropped, and asked again. */
const MAX_WAITING = 1_024;
/** No question is longer. */
const MAX_QUERY_BYTES = 4_096;

/** A machine without the family has no such address. */
const NO_SUCH_FAMILY: ReadonlySet<string> = new Set(["EADDRNOTAVAIL", "EAFNOSUPPORT"]);

function listenError(error: NodeJS.ErrnoException, address: string, port: number): AppError {
  const code = error.code === "EADDRINUSE" ? "address-in-use" : "unavailable";
  const help = "another program answers DNS there: end it";
  return new AppError(code, "cannot listen for questions of DNS", { where: `${address}:${port}`, cause: error, help });
}

// === UDP ===

function serveUdp(address: string, port: number, answer: AnswerQuery): Promise<UdpSocket> {
  const socket = createSocket({ type: address.includes(":") ? "udp6" : "udp4" });
  let waiting = 0;
  const receive = async (bytes: Buffer, { address: host, port: from }: RemoteInfo): Promise<void> => {
    if (waiting >= MAX_WAITING || bytes.length > MAX_QUERY_BYTES) return;
    waiting += 1;
    const response = await answer(bytes, "udp");
    waiting -= 1;
    // The socket may be closed by now, and whoever asked be gone.
    if (response !== undefined) trySend(socket, response, from, host);
  };
  socket.on("message", (bytes, from) => void receive(bytes, from));
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off("error", reject);
      socket.on("error", () => undefined);
      resolve(socket);
    });
  });
}

function trySend(socket: UdpSocket, bytes: Buffer, port: number, host: string): void {
  try {
    socket.send(bytes, port, host, () => undefined);
  } catch {
    // Closed.
  }
}

// === TCP ===

function framed(bytes: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** One question after another (RFC 7766 lets a client send several at once). */
async function serveConnection(socket: Socket, answer: AnswerQuery): Promise<void> {
  let received = Buffer.alloc(0);
  for await (const bytes of socket) {
    received = Buffer.concat([received, bytes as Buffer]);
    while (received.length >= 2) {
      const length = received.readUInt16BE(0);
      if (length > MAX_QUERY_BYTES) return;
      if (received.length < 2 + length) break;
      const response = await answer(received.subarray(2, 2 + length), "tcp");
      received = received.subarray(2 + length);
      if (response === undefined || socket.destroyed) return;
      // Whoever reads no answers asks no more.
      if (!socket.write(framed(response))) await once(socket, "drain");
    }
  }
}

function serveTcp(address: string, port: number, answer: AnswerQuery, connections: Set<Socket>): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections.add(socket);
    socket.on("close", () => connections.delete(socket));
    socket.on("error", () => undefined);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    serveConnection(socket, answer).then(
      () => socket.end(),
      () => socket.destroy(),
    );
  });
  server.maxConnections = MAX_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: address, port, exclusive: true }, () => resolve(server));
  });
}

// === Both ===

function portOf(server: Server): number {
  const bound = server.address();
  return typeof bound === "object" && bound !== null ? bound.port : 0;
}

/** Throws `address-in-use`, `unavailable`. */
export async function startDnsServer({ port: wanted, answer }: DnsServerOptions): Promise<DnsListener> {
  const closers: (() => void)[] = [];
  const connections = new Set<Socket>();
  const close = (): void => {
    for (const closer of closers.splice(0)) closer();
    for (const socket of connections) socket.destroy();
  };
  let port = wanted;
  for (const address of ADDRESSES) {
    try {
      const tcp = await serveTcp(address, port, answer, connections);
      closers.push(() => tcp.close());
      port = portOf(tcp);
      const udp = await serveUdp(address, port, answer);
      closers.push(() => udp.close());
    } catch (thrown) {
      const error = thrown as NodeJS.ErrnoException;
      if (address !== ADDRESSES[0] && NO_SUCH_FAMILY.has(error.code ?? "")) continue;
      close();
      throw listenError(error, address, port);
    }
  }
  return { port, close };
}
