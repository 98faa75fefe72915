/** Asks a proxy what a test says, byte by byte, on a connection of its own. */
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp, Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { type Entrance, spokenAt } from "../analyze/entrance.ts";
import type { TestRequest } from "../analyze/test-request.ts";
import { CLIENT_ALPN } from "../compile/mesh-alpn.ts";
import { DENIED_BY_HEADER } from "../policy/denied-by.ts";
import type { Protocol } from "../policy/model.ts";
import type { TlsMaterial } from "../rpc/credentials.ts";
import { connectionKey } from "./control-plane.ts";

/** What the client saw: an HTTP status, TCP bytes that came back, or that the other side closed without a word. */
export interface Seen {
  /** As in the access log; undefined where no connection came about. */
  readonly key: string | undefined;
  readonly answer: number | "echo" | "closed";
  /** What `x-garrison-denied-by` says; absent without it. */
  readonly deniedBy?: string;
  /** Why no connection came about; absent where one did. */
  readonly unconnected?: string;
}

type Answered = Omit<Seen, "key">;

const DENIED_BY_LINE = new RegExp(`\\r\\n${DENIED_BY_HEADER}: ([^\\r\\n]*)\\r\\n`, "i");

function told(deniedBy: string | undefined): Pick<Seen, "deniedBy"> {
  return deniedBy === undefined ? {} : { deniedBy };
}

export interface Question {
  readonly listener: Entrance;
  readonly request: TestRequest;
  /** The authority of the request. */
  readonly host: string;
  /** The caller's; without key and chain, an outsider's over TLS; undefined for plaintext. */
  readonly material: (Pick<TlsMaterial, "roots"> & Partial<TlsMaterial>) | undefined;
}

const OUTSIDERS_ALPN = { http: ["http/1.1"], http2: ["h2"], tcp: [] } satisfies Record<Protocol, string[]>;

const PATIENCE_MS = 15_000;
const PAYLOAD = "hello";
const MOST_TRIES = 20;

const FIRST_PORT = 10_000;
const PORTS = 50_000;
let lastPort = Math.floor(Math.random() * PORTS);

/**
 * From a port of our own choice, since the kernel gives one soon again, and two connections would be one in the log. A port
 * that somebody uses is passed over.
 */
async function openTcp({ listener, request }: Question): Promise<Socket> {
  for (let tries = 0; ; tries++) {
    lastPort = (lastPort + 1) % PORTS;
    const from = { localAddress: request.sourceIp ?? "127.0.0.1", localPort: FIRST_PORT + lastPort };
    const socket = connectTcp({ host: listener.bind, port: listener.port, ...from });
    try {
      await once(socket, "connect");
      return socket;
    } catch (error) {
      if (tries === MOST_TRIES || !(error instanceof Error && /EADDRINUSE|EADDRNOTAVAIL/.test(error.message))) throw error;
    }
  }
}

/** The connection after the client's half of the handshake; the server may still refuse it. */
async function secure(socket: Socket, { listener, request, material }: Question): Promise<Socket> {
  if (material === undefined) return socket;
  const { key, chain, roots } = material;
  const serverName = listener.serverName ?? request.sni;
  const spoken = spokenAt(listener, request);
  const tls = connectTls({
    socket,
    ...(key === undefined || chain === undefined ? {} : { key, cert: chain }),
    ca: roots,
    ALPNProtocols: key === undefined ? OUTSIDERS_ALPN[spoken] : [...CLIENT_ALPN[spoken]],
    checkServerIdentity: () => undefined,
    ...(serverName === undefined || serverName === "" ? {} : { servername: serverName }),
  });
  await once(tls, "secureConnect");
  tls.on("error", () => undefined);
  return tls;
}

/** All that comes until the other side closes or it is enough. */
function readUntil(socket: Socket, isEnough: (received: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = "";
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no answer in ${PATIENCE_MS} ms, only \`${received}\``));
    }, PATIENCE_MS);
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString("latin1");
      if (isEnough(received)) socket.destroy();
    });
    socket.on("error", () => undefined);
    socket.once("close", () => {
      clearTimeout(timer);
      resolve(received);
    });
  });
}

// === HTTP/1.1 ===

/** Text as its UTF-8 bytes, one character for each. */
function asBytes(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

function headerLines({ headers }: TestRequest): readonly (readonly [name: string, value: string])[] {
  return [...headers].flatMap(([name, values]) => values.map((value) => [name, asBytes(value)] as const));
}

function requestBytes({ request, host }: Question): string {
  const own = [`${request.method} ${asBytes(request.path)} HTTP/1.1`, `host: ${asBytes(host)}`, "connection: close"];
  return `${[...own, ...headerLines(request).map(([name, value]) => `${name}: ${value}`)].join("\r\n")}\r\n\r\n`;
}

/** Whether a response with a Content-Length is there to its end (RFC 9112 §6.3); others end with the connection. */
function isWholeResponse(received: string, method: string): boolean {
  const end = received.indexOf("\r\n\r\n");
  const length = /\r\ncontent-length: (\d+)/i.exec(received.slice(0, Math.max(0, end)))?.[1];
  return end >= 0 && length !== undefined && received.length - end - 4 >= (method === "HEAD" ? 0 : Number(length));
}

async function askHttp(socket: Socket, question: Question): Promise<Answered> {
  const received = readUntil(socket, (text) => isWholeResponse(text, question.request.method));
  socket.write(requestBytes(question), "latin1");
  const text = await received;
  const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1];
  const answer = status === undefined ? "closed" : Number(status);
  return { answer, ...told(DENIED_BY_LINE.exec(text)?.[1]) };
}

// === HTTP/2 ===

/** Lets a header come several times that should come once. Not in the types of Node as yet. */
const RAW_FIELDS: object = { strictSingleValueFields: false };

async function askHttp2(socket: Socket, { request, host }: Question): Promise<Answered> {
  const session = connectHttp2("http://garrison", { ...RAW_FIELDS, createConnection: () => socket });
  session.on("error", () => undefined);
  const pseudo = { ":method": request.method, ":path": asBytes(request.path), ":authority": asBytes(host) };
  const headers = Object.fromEntries([...request.headers].map(([name, values]) => [name, values.map(asBytes)]));
  const stream = session.request({ ...headers, ...pseudo }, { endStream: true });
  let answered: Answered = { answer: "closed" };
  stream
    .on("error", () => undefined)
    .once("response", (response) => {
      const by = response[DENIED_BY_HEADER];
      answered = { answer: Number(response[":status"]), ...told(typeof by === "string" ? by : undefined) };
    });
  stream.setTimeout(PATIENCE_MS, () => stream.close());
  stream.resume();
  await new Promise((resolve) => stream.once("close", resolve));
  session.destroy();
  return answered;
}

// === TCP ===

async function askTcp(socket: Socket): Promise<Answered> {
  const received = readUntil(socket, (text) => text.length >= PAYLOAD.length);
  socket.write(PAYLOAD);
  return { answer: (await received) === PAYLOAD ? "echo" : "closed" };
}

const ASK = { http: askHttp, http2: askHttp2, tcp: askTcp } as const satisfies Record<Protocol, unknown>;

function unconnected(error: unknown): Seen {
  return { key: undefined, answer: "closed", unconnected: error instanceof Error ? error.message : String(error) };
}

/** Asks, and tells what came back. Rejects only where there is neither an answer nor an end. */
export async function ask(question: Question): Promise<Seen> {
  const { listener } = question;
  const tcp = await openTcp(question).catch(unconnected);
  if (!(tcp instanceof Socket)) return tcp;
  tcp.on("error", () => undefined);
  const key = connectionKey({ ip: tcp.localAddress ?? "", port: tcp.localPort ?? 0 }, { ip: listener.bind, port: listener.port });
  const socket = await secure(tcp, question).catch(unconnected);
  if (!(socket instanceof Socket)) return socket;
  // A refused handshake can end in the same moment in which the client's half of it does.
  return { key, ...(socket.destroyed ? { answer: "closed" } : await ASK[spokenAt(listener, question.request)](socket, question)) };
}
