/** One port where peers connect: which of them must use mutual TLS, and which protocol they speak. */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { EffectiveMtls, InboundListener } from "../compile/workload-policy.ts";
import { forwardedCertificate, type PeerConnection } from "./client-facts.ts";
import type { Credentials } from "./credentials.ts";
import type { ExternalAuthorization } from "./external-authorization.ts";
import { Http1Server, type HttpServerOptions } from "./http1-server.ts";
import { serveHttp2 } from "./http2-server.ts";
import { InboundHttp } from "./inbound-http.ts";
import { InboundTcp } from "./inbound-tcp.ts";
import type { Limits } from "./limits.ts";
import { LocalEndpoint } from "./local-endpoint.ts";
import { MutualTls } from "./mutual-tls.ts";
import { isOfTrustDomains, type Peer } from "./peer-certificate.ts";
import type { PolicyState } from "./policy-state.ts";
import { type Recorder, refusal } from "./record.ts";
import { httpVersion, isTls, sniff } from "./sniff.ts";
import { chooseAlpn, httpVersionOf } from "./tls.ts";

export interface InboundPortOptions {
  readonly listener: InboundListener;
  /** The port that is really listened on. */
  readonly port: number;
  readonly state: PolicyState;
  readonly credentials: Credentials;
  readonly limits: Limits;
  readonly recorder: Recorder;
  readonly external: ExternalAuthorization;
}

/** An open connection, as far as a change of the port's mode ends it. */
interface Accepted {
  readonly connection: PeerConnection;
  /** Ends it; where the protocol can say so, after the requests in flight. */
  readonly retire: () => void;
}

export class InboundPort {
  readonly #options: InboundPortOptions;
  readonly #tls: MutualTls;
  readonly #http1: Http1Server<PeerConnection>;
  readonly #httpOptions: HttpServerOptions<PeerConnection>;
  readonly #tcp: InboundTcp;
  readonly #accepted = new Set<Accepted>();
  #listener: InboundListener;
  #endpoint: LocalEndpoint;

  constructor(options: InboundPortOptions) {
    const { listener, credentials, limits, state, recorder, external } = options;
    this.#options = options;
    this.#listener = listener;
    this.#endpoint = new LocalEndpoint(listener.endpoint, listener.protocol, limits);
    const shared = { listener: () => this.#listener, endpoint: () => this.#endpoint, state, limits, recorder, external };
    const http = new InboundHttp(shared);
    this.#httpOptions = {
      limits,
      handle: (raw, downstream, connection) => http.handle(raw, downstream, connection),
      onMalformed: (reason, status, connection) => http.malformed(reason, status, connection),
    };
    this.#http1 = new Http1Server(this.#httpOptions, listener.protocol === "http");
    this.#tcp = new InboundTcp(shared);
    this.#tls = new MutualTls({
      credentials,
      handshakeMs: limits.handshakeMs,
      allowHalfOpen: listener.protocol === "tcp",
      trustDomains: () => state.policy.trustDomains,
      chooseAlpn: (offered) => chooseAlpn(listener.protocol, offered),
      onPeer: (socket, peer) => void this.#serve(socket, peer, socket.alpnProtocol),
      onRefused: ({ sourceIp, caller, reason }) => this.#refused(sourceIp, caller, reason),
    });
  }

  /** Takes a connection that has just been accepted. */
  accept(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    if (this.#listener.mtls === "DISABLE") void this.#serve(socket, undefined, false);
    else void this.#acceptTls(socket);
  }

  /** Takes what a new policy says of this port, whose address and protocol are the same. */
  update(listener: InboundListener): void {
    if (JSON.stringify(listener.endpoint) !== JSON.stringify(this.#listener.endpoint)) {
      this.#endpoint.close();
      this.#endpoint = new LocalEndpoint(listener.endpoint, listener.protocol, this.#options.limits);
    }
    this.#listener = listener;
    for (const { connection, retire } of [...this.#accepted]) if (!this.#welcomes(connection.peer, listener.mtls)) retire();
  }

  /** Ends what was agreed on by other TLS settings than those of the moment. */
  retireTls(): void {
    for (const { connection, retire } of [...this.#accepted]) if (connection.peer !== undefined) retire();
  }

  /** Lets requests in flight finish, and ends what has none. */
  drain(): void {
    for (const { retire } of [...this.#accepted]) retire();
  }

  /** No longer takes connections; open ones are the acceptor's to end. */
  close(): void {
    this.#tls.close();
    this.#http1.close();
    this.#endpoint.close();
  }

  #welcomes(peer: Peer | undefined, mtls: EffectiveMtls): boolean {
    if (peer === undefined) return mtls !== "STRICT";
    return mtls !== "DISABLE" && isOfTrustDomains(peer.identity, this.#options.state.policy.trustDomains);
  }

  /** The first byte tells mutual TLS from plaintext, so that one port can take both, and the other is told from a failed handshake. */
  async #acceptTls(socket: Socket): Promise<void> {
    const { firstByteMs, headMs } = this.#options.limits;
    const sourceIp = socket.remoteAddress ?? "";
    const tls = await sniff(socket, isTls, this.#listener.protocol === "tcp" ? firstByteMs : headMs);
    if (tls === true) this.#tls.serve(socket);
    // A client that is silent may wait for an application that speaks first, as some TCP protocols do.
    else if (this.#listener.mtls !== "STRICT") await this.#serve(socket, undefined, false);
    else {
      socket.destroy();
      // Whoever leaves without a word, as health checks do, is not worth a record.
      if (tls === false) this.#refused(sourceIp, "", "plaintext where mutual TLS is required");
    }
  }

  /** Serves a connection whose peer is known, or known to be unknown. */
  async #serve(socket: Socket | TLSSocket, peer: Peer | undefined, alpn: string | false | null): Promise<void> {
    if (socket.destroyed) return;
    const connection = this.#describe(socket, peer);
    if (this.#listener.protocol === "tcp") {
      const unregister = this.#register(connection, () => socket.destroy());
      await this.#tcp.handle(socket, connection);
      unregister();
      return;
    }
    const version = httpVersionOf(alpn) ?? (await sniff(socket, httpVersion, this.#options.limits.headMs));
    if (version === undefined || socket.destroyed) socket.destroy();
    else this.#serveHttp(version, socket, connection);
  }

  #serveHttp(version: "1.1" | "2", socket: Socket, connection: PeerConnection): void {
    const scheme = connection.peer === undefined ? "http" : "https";
    if (version === "2") {
      const session = serveHttp2(socket, connection, scheme, this.#httpOptions);
      socket.once(
        "close",
        this.#register(connection, () => session.close()),
      );
      return;
    }
    const retire = () => {
      connection.draining = true;
      this.#http1.retire(socket);
    };
    socket.once("close", this.#register(connection, retire));
    this.#http1.serve(socket, connection, scheme);
  }

  #describe(socket: Socket | TLSSocket, peer: Peer | undefined): PeerConnection {
    const sni = "servername" in socket && typeof socket.servername === "string" ? socket.servername : "";
    return {
      peer,
      sourceIp: socket.remoteAddress ?? "",
      sourcePort: socket.remotePort ?? 0,
      destinationIp: socket.localAddress ?? "",
      destinationPort: this.#options.port,
      sni,
      forwardedCertificate: peer === undefined ? undefined : forwardedCertificate(this.#options.state.policy.identity, peer),
      draining: false,
    };
  }

  #register(connection: PeerConnection, retire: () => void): () => void {
    const accepted = { connection, retire };
    this.#accepted.add(accepted);
    return () => this.#accepted.delete(accepted);
  }

  #refused(sourceIp: string, caller: string, reason: string): void {
    const { protocol, services } = this.#listener;
    this.#options.recorder.record({
      timeMs: BigInt(Date.now()),
      caller,
      sourceIp,
      service: services[0] ?? "",
      protocol: protocol === "tcp" ? "tcp" : "http",
      port: this.#options.port,
      ...refusal(reason),
    });
  }
}
