/** Attempts from outside the mesh, and a server that poses as another. */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, createServer } from "node:tls";
import type { TlsMaterial } from "../../rpc/credentials.ts";
import type { Observation } from "./row.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

const TIMEOUT_MS = 5000;
const MAX_SHOWN = 40;

function describe(error: Error): string {
  const code = "code" in error ? String(error.code) : error.message;
  return code.replace("ERR_SSL_", "").replace("TLSV1_", "").toLowerCase().replaceAll("_", " ");
}

/** Whatever comes back first: bytes mean that somebody served us, an end or an error that nobody did. */
function outcome(socket: Socket): Promise<Observation> {
  return new Promise((resolve) => {
    const finish = (observation: Observation): void => {
      socket.destroy();
      resolve(observation);
    };
    socket.setTimeout(TIMEOUT_MS, () => finish({ effect: "allow", saw: "the connection stays open" }));
    socket.once("data", (bytes: Buffer) =>
      finish({ effect: "allow", saw: bytes.toString("latin1").split("\r\n")[0]?.slice(0, MAX_SHOWN) ?? "" }),
    );
    socket.once("end", () => finish({ effect: "refused", saw: "closed" }));
    socket.once("error", (error) => finish({ effect: "refused", saw: describe(error) }));
  });
}

/** Bytes without TLS. */
export function tryPlaintext(address: Address, payload: string): Promise<Observation> {
  const socket = connectTcp(address.port, address.host, () => socket.write(payload));
  return outcome(socket);
}

/** Bytes over TLS with the given certificate, or none. TLS 1.3 tells a client late that it is refused: the first read shows it. */
export function tryTls(address: Address, payload: string, material: TlsMaterial | undefined): Promise<Observation> {
  const certificate = material === undefined ? {} : { key: material.key, cert: material.chain };
  // The attacker does not care who the server is.
  const socket = connectTls({
    ...address,
    ...certificate,
    rejectUnauthorized: false,
    ALPNProtocols: ["istio-http/1.1", "istio", "http/1.1"],
  });
  socket.once("secureConnect", () => socket.write(payload));
  return outcome(socket);
}

export interface Impostor {
  /** Application bytes that clients sent it. */
  readonly stolen: () => number;
  close(): Promise<void>;
}

/** A TLS server with somebody's certificate on somebody else's port, which answers whatever it is asked. */
export async function startImpostor(address: Address, material: TlsMaterial): Promise<Impostor> {
  let stolen = 0;
  const server = createServer(
    { key: material.key, cert: material.chain, requestCert: true, rejectUnauthorized: false, ALPNProtocols: ["istio"] },
    (socket) => {
      socket.on("data", (bytes) => {
        stolen += bytes.length;
        socket.write("+PONG\r\n");
      });
      socket.on("error", () => socket.destroy());
    },
  );
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket.once("close", () => sockets.delete(socket))));
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(address.port, address.host, resolve);
  });
  return {
    stolen: () => stolen,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
