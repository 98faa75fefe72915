/** One port where peers connect: which of them must use mutual TLS, and which protocol they speak. */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { isOfMesh } from "../compile/mesh-alpn.ts";
import type { EffectiveMtls, InboundListener } from "../compile/workload-policy.ts";
import { describeConnection } from "./client-facts.ts";
import { clientHello } from "./client-hello.ts";
import type { Credentials } from "./credentials.ts";
import type { ExternalAuthorization } from "./external-authorization.ts";
import { HttpConnections } from "./http-connections.ts";
import { InboundHttp } from "./inbound-http.ts";
import { InboundTcp } from "./inbound-tcp.ts";
import type { Limits } from "./limits.ts";
import { LocalEndpoint } from "./local-endpoint.ts";
import { MutualTls } from "./mutual-tls.ts";
import { isOfTrustDomains, type Peer } from "./peer-certificate.ts";
import type { PolicyState } from "./policy-state.ts";
import { type Recorder, refusal } from "./record.ts";
import { isTls, sniff } from "./sniff.ts";
import { chooseAlpn } from "./tls.ts";

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

export class InboundPort {
  readonly #options: InboundPortOptions;
  readonly #tls: MutualTls;
  readonly #http: HttpConnections;
  readonly #tcp: InboundTcp;
  #listener: InboundListener;
  #endpoint: LocalEndpoint;

  constructor(options: InboundPortOptions) {
    const { listener, credentials, limits, state, recorder, external } = options;
    this.#options = options;
    this.#listener = listener;
    this.#endpoint = new LocalEndpoint(listener.endpoint, listener.protocol, limits);
    const shared = { state, limits, recorder, external };
    const http = new InboundHttp({
      ...shared,
      service: () => this.#listener.services[0] ?? "",
      forward: (permit, head) => ({ kind: "upstream", upstream: this.#endpoint.http(permit), head }),
    });
    this.#http = new HttpConnections({ limits, ...http.handlers }, listener.protocol === "http");
    this.#tcp = new InboundTcp({ ...shared, listener: () => this.#listener, endpoint: () => this.#endpoint });
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
    this.#http.retain(({ peer }) => this.#welcomes(peer, listener.mtls));
  }

  /** Ends what was agreed on by other TLS settings than those of the moment. */
  retireTls(): void {
    this.#http.retain(({ peer }) => peer === undefined);
  }

  /** Ends what peers have open that proved themselves by one of these certificates, and nothing else. */
  cutRevoked(digests: ReadonlySet<string>): void {
    this.#http.cutRevoked(digests);
  }

  /** Lets requests in flight finish, and ends what has none. */
  drain(): void {
    this.#http.drain();
  }

  /** No longer takes connections; open ones are the acceptor's to end. */
  close(): void {
    this.#tls.close();
    this.#http.close();
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
    if (tls === true) await this.#acceptHandshake(socket);
    // A client that is silent may wait for an application that speaks first, as some TCP protocols do.
    else if (!this.#isStrict()) await this.#serve(socket, undefined, false);
    else {
      socket.destroy();
      // Whoever leaves without a word, as health checks do, is not worth a record.
      if (tls === false) this.#refused(sourceIp, "", "plaintext where mutual TLS is required");
    }
  }

  #isStrict(): boolean {
    return this.#listener.mtls === "STRICT";
  }

  /** Where mutual TLS is no must, what a client offers tells it from the application's own TLS, as in Envoy (XD-2): STRICT takes any. */
  async #acceptHandshake(socket: Socket): Promise<void> {
    if (this.#isStrict()) return this.#tls.serve(socket);
    const sourceIp = socket.remoteAddress ?? "";
    const hello = await sniff(socket, clientHello, this.#options.limits.handshakeMs);
    // As of now: a policy may have come while the client took its time.
    const { protocol } = this.#listener;
    if (this.#isStrict()) this.#tls.serve(socket);
    else if (hello === undefined) {
      const left = socket.destroyed || socket.readableEnded;
      socket.destroy();
      // Whoever leaves without a word, as health checks do, is not worth a record.
      if (!left) this.#refused(sourceIp, "", "the TLS handshake took too long");
    } else if (hello !== "none" && isOfMesh(hello.alpn)) this.#tls.serve(socket);
    else if (hello === "none" || protocol === "tcp") await this.#serve(socket, undefined, false, hello !== "none");
    else {
      socket.destroy();
      this.#refused(sourceIp, "", "TLS that is not the mesh's: an HTTP port cannot read it");
    }
  }

  /** Serves a connection whose peer is known, or known to be unknown. */
  async #serve(socket: Socket | TLSSocket, peer: Peer | undefined, alpn: string | false | null, ownTls = false): Promise<void> {
    if (socket.destroyed) return;
    const { port, state } = this.#options;
    const described = describeConnection(socket, { port, identity: state.policy.identity, peer });
    if (described === undefined) {
      socket.destroy();
      return;
    }
    const connection = ownTls ? { ...described, ownTls: true as const } : described;
    if (this.#listener.protocol === "tcp") {
      const end = () => socket.destroy();
      const unregister = this.#http.register(connection, end, end);
      await this.#tcp.handle(socket, connection);
      unregister();
      return;
    }
    await this.#http.serve(socket, connection, alpn, peer === undefined ? "http" : "https");
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
