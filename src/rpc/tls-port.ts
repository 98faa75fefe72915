/**
 * The TLS port of a gRPC server. A handshake costs more than most calls, and thousands that are worked on at one time are all done too late: so many
 * are at once, the others wait for their turn before anything is computed for them, and who would wait too long is sent away.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer } from "node:tls";
import { type ConnectionInjector, type Server, ServerCredentials } from "@grpc/grpc-js";
import { listenHost } from "../core/listen-host.ts";
import { CallQueue } from "./call-queue.ts";
import type { RotatingTlsMaterial, TlsMaterial } from "./credentials.ts";
import { networkOf } from "./peer-network.ts";

export interface TlsPortOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** The newest holds for each new handshake. */
  readonly material: RotatingTlsMaterial;
  /** Of handshakes; with default bounds without. */
  readonly queue?: CallQueue;
}

export interface TlsPort {
  readonly port: number;
  /** Ends the connections that there are, those with calls under way after `graceMs`. */
  drain(graceMs: number): void;
  /** Ends the connection from an address (`HOST:PORT`, as gRPC prints it) at once, with all that waits there to be read. */
  abort(address: string): void;
  /** Takes no more connections, and ends those whose handshake is not done; the others are the gRPC server's. */
  close(): void;
}

/** An agent gives up after 10 s; who is sent away before comes back with more patience than who was left waiting. */
const HANDSHAKE_QUEUE = { concurrency: 32, capacity: 2_048, maxWaitMs: 5_000 } as const;
/** A handshake that takes longer goes on, and holds up nobody. */
const TURN_MS = 500;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Of this port, at one time. */
const MAX_CONNECTIONS = 20_000;

const contextOf = ({ key, chain, roots }: TlsMaterial) => ({ key, cert: chain, ca: roots });

/**
 * Asks every client for a certificate and admits those without one: each service then decides. A certificate that does not verify counts as
 * none: grpc-js's `getAuthContext` tells only of verified ones.
 */
function tlsServer(material: RotatingTlsMaterial, onConnection: (socket: Socket) => void): TlsServer {
  const { current } = material;
  const policy = { requestCert: true, rejectUnauthorized: false, ALPNProtocols: ["h2"], handshakeTimeout: HANDSHAKE_TIMEOUT_MS };
  const server = createTlsServer({ ...policy, ...(current === undefined ? {} : contextOf(current)) });
  server.on("secureConnection", (socket) => {
    // Whatever ends a connection is the HTTP/2 session's to tell; without a listener it would end the process.
    socket.on("error", () => undefined);
    onConnection(socket);
  });
  return server;
}

/** Opens the port and gives the gRPC server what connects there. Rejects with what the system says. */
export async function openTlsPort(server: Server, options: TlsPortOptions): Promise<TlsPort> {
  const { listen, material, queue = new CallQueue(HANDSHAKE_QUEUE) } = options;
  const injector: ConnectionInjector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const turns = new Map<string, () => void>();
  const unsecured = new Set<Socket>();
  const secured = new Map<string, Socket>();
  const tls = tlsServer(material, (socket) => {
    turns.get(nameOf(socket))?.();
    const address = addressOf(socket);
    secured.set(address, socket);
    socket.once("close", () => secured.delete(address));
    injector.injectConnection(socket);
  });
  const unfollow = material.onUpdate((newest) => tls.setSecureContext(contextOf(newest)));

  /** Until the handshake is done, has failed, or has had its turn. */
  const shake = (socket: Socket): Promise<void> =>
    new Promise((resolve) => {
      const name = nameOf(socket);
      const end = (): void => {
        clearTimeout(timer);
        turns.delete(name);
        unsecured.delete(socket);
        resolve();
      };
      const timer = setTimeout(resolve, TURN_MS);
      turns.set(name, end);
      socket.once("close", end);
      tls.emit("connection", socket);
    });

  const port = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
    socket.on("error", () => undefined);
    unsecured.add(socket);
    queue
      .run(
        networkOf(socket.remoteAddress ?? ""),
        () => shake(socket),
        () => socket.destroyed,
      )
      .catch(() => {
        unsecured.delete(socket);
        socket.resetAndDestroy();
      });
  });
  port.maxConnections = MAX_CONNECTIONS;
  try {
    await once(port.listen(listen.port, listenHost(listen.host)), "listening");
  } catch (thrown) {
    unfollow();
    throw thrown;
  }
  return {
    port: (port.address() as AddressInfo).port,
    abort: (address) => void secured.get(address)?.destroy(),
    drain: (graceMs) => injector.drain(graceMs),
    close: () => {
      unfollow();
      port.close();
      for (const socket of unsecured) socket.destroy();
    },
  };
}

/** Of a connection, as long as it is open. */
const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress}|${remotePort}`;

/** As gRPC prints it. */
const addressOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress}:${remotePort}`;
