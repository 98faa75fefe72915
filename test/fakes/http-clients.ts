/** HTTP clients of a proxy: over mutual TLS and plain, HTTP/1.1 and HTTP/2, and raw bytes. */
import { once } from "node:events";
import { type Agent, type IncomingMessage, request as plainRequest, type RequestOptions } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { Agent as TlsAgent, request as tlsRequest } from "node:https";
import { connect, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly trailers: NodeJS.Dict<string>;
  readonly body: Buffer;
}

/** The TLS options of a peer that trusts any server of its CA, whatever its name; its first bytes tell the version of HTTP. */
export function peerOptions({ key, chain, roots }: TlsMaterial): ConnectionOptions {
  return { key, cert: chain, ca: roots, ALPNProtocols: ["istio"], checkServerIdentity: () => undefined };
}

/** Keeps its connections. */
export function peerAgent(material: TlsMaterial, maxSockets = Number.POSITIVE_INFINITY): TlsAgent {
  return new TlsAgent({ ...peerOptions(material), keepAlive: true, maxSockets, maxCachedSessions: 0 });
}

export interface Call extends RequestOptions {
  readonly port: number;
  readonly agent?: Agent | TlsAgent;
  readonly body?: string | Buffer;
}

/** One HTTP/1.1 exchange, to the end of its body. */
export async function call({ body, ...options }: Call): Promise<Answer> {
  const send = options.agent instanceof TlsAgent ? tlsRequest : plainRequest;
  const outgoing = send({ host: "127.0.0.1", agent: false, ...options });
  outgoing.end(body);
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode ?? 0, headers: response.headers, trailers: response.trailers, body: Buffer.concat(chunks) };
}

/** An HTTP/2 connection over mutual TLS, or plain without `material`. */
export async function http2Session(port: number, material: TlsMaterial | undefined): Promise<ClientHttp2Session> {
  const session =
    material === undefined
      ? connectHttp2(`http://127.0.0.1:${port}`)
      : connectHttp2(`https://127.0.0.1:${port}`, {
          // Node would offer `h2` alone.
          createConnection: () =>
            connectTls({ host: "127.0.0.1", port, ...peerOptions(material), ALPNProtocols: ["istio-h2", "istio", "h2"] }),
        });
  session.on("error", () => undefined);
  await once(session, "connect");
  return session;
}

export interface Http2Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly trailers: Record<string, string | string[] | undefined>;
  readonly body: Buffer;
}

/** One HTTP/2 exchange. Rejects when the stream is reset. */
export async function call2(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body?: Buffer,
  trailers?: Record<string, string>,
): Promise<Http2Answer> {
  const stream = session.request(
    { ":authority": "backend", ...headers },
    { endStream: body === undefined, waitForTrailers: trailers !== undefined },
  );
  if (trailers !== undefined) stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  if (body !== undefined) stream.end(body);
  let received: Http2Answer["trailers"] = {};
  stream.on("trailers", (fields) => {
    received = { ...fields };
  });
  const [fields] = (await once(stream, "response")) as [Record<string, string>];
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return { status: Number(fields[":status"]), headers: fields, trailers: received, body: Buffer.concat(chunks) };
}

/** A TLS connection whose handshake is done. Rejects when it fails. */
export async function tlsSocket(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connectTls({ host: "127.0.0.1", port, ...options });
  await once(socket, "secureConnect");
  return socket;
}

/** With `allowHalfOpen` it is the test that ends its own side. */
export async function plainSocket(port: number, allowHalfOpen = false): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port, allowHalfOpen });
  await once(socket, "connect");
  return socket;
}

/** Everything that the other side sends until it closes, or breaks the connection. */
export async function readAll(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  socket.on("error", () => undefined);
  if (!socket.destroyed) await once(socket, "close").catch(() => undefined);
  return text;
}

/** Sends bytes as they are and reads what comes back until the connection is closed. */
export async function exchangeRaw(socket: Socket, bytes: string): Promise<string> {
  socket.write(bytes, "latin1");
  return readAll(socket);
}
