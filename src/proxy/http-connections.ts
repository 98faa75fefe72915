/** The HTTP connections of one port: which version each speaks, and how all of them end. */
import type { Socket } from "node:net";
import type { PeerConnection } from "./client-facts.ts";
import { Http1Server, type HttpServerOptions } from "./http1-server.ts";
import { serveHttp2 } from "./http2-server.ts";
import { httpVersion, sniff } from "./sniff.ts";
import { httpVersionOf } from "./tls.ts";

/** An open connection, as far as a change of its port ends it. */
interface Accepted {
  readonly connection: PeerConnection;
  /** Ends it; where the protocol can say so, after the requests in flight. */
  readonly retire: () => void;
  /** Ends it at once, with whatever is under way. */
  readonly cut: () => void;
}

export class HttpConnections {
  readonly #options: HttpServerOptions<PeerConnection>;
  readonly #http1: Http1Server<PeerConnection>;
  readonly #accepted = new Set<Accepted>();

  constructor(options: HttpServerOptions<PeerConnection>, webSockets: boolean) {
    this.#options = options;
    this.#http1 = new Http1Server(options, webSockets);
  }

  /** Serves a connection; where `alpn` leaves the version open, the first bytes tell. */
  async serve(socket: Socket, connection: PeerConnection, alpn: string | false | null, scheme: "http" | "https"): Promise<void> {
    const version = httpVersionOf(alpn) ?? (await this.#sniffed(socket, connection));
    if (version === undefined || socket.destroyed) {
      socket.destroy();
      return;
    }
    if (version === "2") {
      const session = serveHttp2(socket, connection, scheme, this.#options);
      socket.once(
        "close",
        this.register(
          connection,
          () => session.close(),
          () => session.destroy(),
        ),
      );
      return;
    }
    const retire = () => {
      connection.draining = true;
      this.#http1.retire(socket);
    };
    socket.once(
      "close",
      this.register(connection, retire, () => socket.destroy()),
    );
    this.#http1.serve(socket, connection, scheme);
  }

  /** While it says nothing, a connection may become unwelcome like any other. */
  async #sniffed(socket: Socket, connection: PeerConnection): Promise<"1.1" | "2" | undefined> {
    const end = () => socket.destroy();
    const unregister = this.register(connection, end, end);
    try {
      return await sniff(socket, httpVersion, this.#options.limits.headMs);
    } finally {
      unregister();
    }
  }

  /** Keeps a connection among those that may have to end, until the returned function is called. */
  register(connection: PeerConnection, retire: () => void, cut: () => void): () => void {
    const accepted = { connection, retire, cut };
    this.#accepted.add(accepted);
    return () => this.#accepted.delete(accepted);
  }

  /** Ends the connections that are not welcome any more. */
  retain(isWelcome: (connection: PeerConnection) => boolean): void {
    for (const { connection, retire } of [...this.#accepted]) if (!isWelcome(connection)) retire();
  }

  /** Ends at once the connections of peers that proved themselves by one of these certificates, responses under way too. */
  cutRevoked(digests: ReadonlySet<string>): void {
    for (const { connection, cut } of [...this.#accepted]) {
      if (connection.peer === undefined || !digests.has(connection.peer.digest)) continue;
      connection.cut = "cut: the caller's certificate was revoked";
      cut();
    }
  }

  /** Lets requests in flight finish, and ends what has none. */
  drain(): void {
    for (const { retire } of [...this.#accepted]) retire();
  }

  close(): void {
    this.#http1.close();
  }
}
