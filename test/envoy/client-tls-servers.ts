/** Servers that a client may mean or not mean: of the mesh, outside, with certificates of every kind, and with none. */
import { once } from "node:events";
import { createServer as createHttpServer, type Server as HttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import { createServer as createTcpServer, type Server, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import type { FakeCa } from "../fakes/fake-ca.ts";
import { portOf } from "./scenario.ts";

export const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";
const SERVER = "spiffe://cluster.local/ns/shop/sa/server";
/** The names of certificates in files. */
export const FILE_CLIENT = "https://client.example.com/file";

const DAY_MS = 86_400_000;
/** RFC 8446 §5.1: a record of TLS begins with 20 to 23. */
const isTls = (first: number | undefined) => first !== undefined && first >= 20 && first <= 23;

/** By whose certificate the client came, as the server saw it. */
function howOf(socket: Socket): string {
  if (!(socket instanceof TLSSocket)) return "plaintext";
  const names = socket.getPeerCertificate().subjectaltname ?? "";
  if (names === "") return "tls";
  return names.includes(CLIENT) ? "mesh-mtls" : "own-mtls";
}

function serverNameOf(socket: Socket): string {
  return socket instanceof TLSSocket && typeof socket.servername === "string" ? socket.servername : "";
}

export interface Servers {
  readonly ports: ReadonlyMap<string, number>;
  /** The cases of which some server has seen the request. */
  readonly seen: ReadonlySet<string>;
  /** Bytes outside of TLS records that reached the server that must get none. */
  readonly bytesInTheClear: () => number;
  /** The certificate of the server `good`, in PEM. */
  readonly goodChain: string;
  close(): void;
}

/** One server for what a port of each mode does, and one for each kind of certificate outside. `hosts` are those that `good` may serve. */
export async function startServers(mesh: FakeCa, outside: FakeCa, stranger: FakeCa, hosts: readonly string[]): Promise<Servers> {
  const seen = new Set<string>();
  let bytesInTheClear = 0;
  const answer = (request: IncomingMessage | Http2ServerRequest, response: ServerResponse | Http2ServerResponse): void => {
    const socket = request.socket as Socket;
    seen.add(String(request.headers["x-case"]));
    (response as ServerResponse).end(JSON.stringify({ how: howOf(socket), sni: serverNameOf(socket) }));
  };
  const https = ({ key, chain }: TlsMaterial, clients?: FakeCa) =>
    createHttpsServer(
      { key, cert: chain, ...(clients === undefined ? {} : { ca: clients.rootPem, requestCert: true, rejectUnauthorized: true }) },
      answer,
    );
  const good = outside.serverMaterial({ dnsNames: hosts });
  const ofMesh = https(mesh.material(SERVER), mesh);
  const plain: HttpServer = createHttpServer(answer);
  const either = createTcpServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (chunk: Buffer) => {
      socket.pause();
      socket.unshift(chunk);
      (isTls(chunk[0]) ? ofMesh : plain).emit("connection", socket);
      process.nextTick(() => socket.resume());
    });
  });
  const silent = createTcpServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      if (!isTls(chunk[0])) bytesInTheClear += chunk.length;
      socket.destroy();
    });
  });
  const other = { dnsNames: ["other.example.com"], addresses: ["192.0.2.7"], identities: ["https://other.example.com/api"] };
  const http2 = createSecureServer({ key: good.key, cert: good.chain }, answer);
  const servers: Readonly<Record<string, Server>> = {
    STRICT: ofMesh,
    PERMISSIVE: either,
    DISABLE: plain,
    mesh: ofMesh,
    plain,
    silent,
    good: https(good),
    "good-http2": http2 as unknown as Server,
    wildcard: https(outside.serverMaterial({ dnsNames: ["*.example.com"] })),
    wrong: https(outside.serverMaterial(other)),
    expired: https(outside.serverMaterial({ dnsNames: hosts, notBefore: Date.now() - 2 * DAY_MS, notAfter: Date.now() - DAY_MS })),
    stranger: https(stranger.serverMaterial({ dnsNames: hosts })),
    "wants-client": https(outside.serverMaterial({ dnsNames: hosts }), outside),
  };
  const all = [...new Set(Object.values(servers))];
  for (const server of all) {
    server.on("tlsClientError", () => undefined);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  const ports = new Map(Object.entries(servers).map(([name, server]) => [name, portOf(server)]));
  const close = (): void => {
    for (const server of all) server.close();
  };
  return { ports, seen, bytesInTheClear: () => bytesInTheClear, goodChain: good.chain, close };
}
