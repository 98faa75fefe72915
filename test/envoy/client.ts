/** Clients that say exactly what a test wants, byte by byte, as a peer's sidecar or as somebody who is none. */
import { once } from "node:events";
import { connect as netConnect, type Socket } from "node:net";
import { type TLSSocket, connect as tlsConnect } from "node:tls";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { LOOPBACK } from "./loopback.ts";

export interface ClientOptions {
  readonly port: number;
  /** Without it, plaintext. */
  readonly tls?: {
    readonly material: Pick<TlsMaterial, "roots"> & Partial<TlsMaterial>;
    readonly alpn?: readonly string[];
    readonly sni?: string;
  };
  /** The address to call from. */
  readonly from?: string;
}

/** What a mesh's sidecar offers for HTTP/1.1. */
export const HTTP_ALPN = ["istio-http/1.1", "istio", "http/1.1"];

/** A connection, after its handshake; rejects where the handshake fails at once. */
export async function open({ port, tls, from = "127.0.0.1" }: ClientOptions): Promise<Socket | TLSSocket> {
  const target = { host: LOOPBACK, port, localAddress: from };
  if (tls === undefined) {
    const socket = netConnect(target);
    await once(socket, "connect");
    return socket;
  }
  const { key, chain, roots } = tls.material;
  const certificate = key === undefined || chain === undefined ? {} : { key, cert: chain };
  const names = { servername: tls.sni ?? "outbound_.80_._.photo-backend", ALPNProtocols: [...(tls.alpn ?? HTTP_ALPN)] };
  const socket = tlsConnect({ ...target, ...certificate, ...names, ca: roots, checkServerIdentity: () => undefined });
  await once(socket, "secureConnect");
  return socket;
}

/** All that comes until the other side closes, or until it is enough; an error is a part of it: `ERROR code`. */
export function readAll(socket: Socket, isEnough: (received: string) => boolean = () => false, timeoutMs = 10_000): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = "";
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`still open after ${timeoutMs} ms, with \`${received}\``));
    }, timeoutMs);
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString("latin1");
      if (isEnough(received)) socket.destroy();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      received += `ERROR ${error.code}`;
    });
    socket.once("close", () => {
      clearTimeout(timer);
      resolve(received);
    });
  });
}

/** Sends these bytes on a connection of its own and reads until it is closed; `ERROR code` where none came about. Rejects where nobody listens. */
export async function exchange(options: ClientOptions, bytes: string, isEnough?: (received: string) => boolean): Promise<string> {
  const socket = await open(options).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ECONNREFUSED") throw error;
    return `ERROR ${error.code}`;
  });
  if (typeof socket === "string") return socket;
  const received = readAll(socket, isEnough);
  socket.write(bytes, "latin1");
  return received;
}

export interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  /** As they go over the wire, in Latin-1. */
  readonly headers?: readonly (readonly [name: string, value: string])[];
}

/** An HTTP/1.1 request as bytes. */
export function requestBytes({ method = "GET", path = "/", host = "photo-backend", headers = [] }: Asked, connection = "close"): string {
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${host}`,
    `Connection: ${connection}`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ];
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** Whether an HTTP/1.1 response is there to its end (RFC 9112 §6.3). */
function isWholeResponse(received: string): boolean {
  const end = received.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const length = /\r\ncontent-length: (\d+)/i.exec(received.slice(0, end))?.[1];
  return length === undefined ? received.endsWith("\r\n0\r\n\r\n") : received.length - end - 4 >= Number(length);
}

/** Status and the rest of the answer; 0 where there was no answer. */
export async function ask(options: ClientOptions, asked: Asked = {}): Promise<{ readonly status: number; readonly text: string }> {
  const text = await exchange(options, requestBytes(asked), isWholeResponse);
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text };
}
