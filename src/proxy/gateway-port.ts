/** One address of a gateway: which server takes a connection, who the client is, and where its requests go. */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { isDeepStrictEqual } from "node:util";
import type { GatewayListener, ServerPolicy } from "../compile/gateway-policy.ts";
import { isOfMesh } from "../compile/mesh-alpn.ts";
import { RouteTable } from "../compile/route-choice.ts";
import { serverFor } from "../compile/server-choice.ts";
import type { ServiceEndpoint, UpstreamService } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { describeConnection, type PeerConnection } from "./client-facts.ts";
import { type ClientHello, clientHello } from "./client-hello.ts";
import type { Credentials } from "./credentials.ts";
import type { ExternalAuthorization } from "./external-authorization.ts";
import type { GatewaySecrets } from "./gateway-secrets.ts";
import { valuesOf } from "./headers.ts";
import { HttpConnections } from "./http-connections.ts";
import { type Forwarding, InboundHttp } from "./inbound-http.ts";
import type { Limits } from "./limits.ts";
import { NO_HEADERS, type RequestHead } from "./message.ts";
import { MutualTls } from "./mutual-tls.ts";
import type { OpenServers } from "./open-servers.ts";
import { OutsideTls } from "./outside-tls.ts";
import { isOfTrustDomains, type Peer } from "./peer-certificate.ts";
import type { PolicyState } from "./policy-state.ts";
import { type Recorder, refusal } from "./record.ts";
import { Resolver } from "./resolver.ts";
import { ServiceUpstream } from "./service-upstream.ts";
import { sniff } from "./sniff.ts";
import { chooseAlpn } from "./tls.ts";

export interface GatewayPortOptions {
  readonly listener: GatewayListener;
  /** The port that is really listened on. */
  readonly port: number;
  readonly secrets: GatewaySecrets;
  readonly state: PolicyState;
  readonly credentials: Credentials;
  readonly servers: OpenServers;
  readonly limits: Limits;
  readonly recorder: Recorder;
  readonly logger: Logger;
  readonly external: ExternalAuthorization;
}

/** A server in force. */
interface Served {
  readonly policy: ServerPolicy;
  readonly routes: RouteTable;
  /** Undefined for the mesh's own and for plaintext, and for a server whose certificates cannot be used. */
  readonly tls: OutsideTls | undefined;
}

export class GatewayPort {
  readonly #options: GatewayPortOptions;
  readonly #resolver = new Resolver();
  readonly #http: HttpConnections;
  readonly #mesh: MutualTls;
  #servers: ReadonlyMap<string, Served> = new Map();
  #listener: GatewayListener;
  #upstreams: ReadonlyMap<string, ServiceUpstream> = new Map();
  #secrets = "";

  constructor(options: GatewayPortOptions) {
    const { listener, secrets, credentials, limits, state, recorder, external } = options;
    this.#options = options;
    this.#listener = listener;
    const http = new InboundHttp({
      state,
      limits,
      recorder,
      external,
      service: () => "",
      forward: (_permit, head, connection) => this.#forward(head, connection),
      edge: true,
    });
    this.#http = new HttpConnections({ limits, ...http.handlers }, true);
    this.#mesh = new MutualTls({
      credentials,
      handshakeMs: limits.handshakeMs,
      allowHalfOpen: false,
      trustDomains: () => state.policy.trustDomains,
      chooseAlpn: (offered) => chooseAlpn("http", offered),
      onPeer: (socket, peer) => this.#serve(socket, this.#ofKind("mesh"), peer),
      onRefused: ({ sourceIp, caller, reason }) => this.#refused(sourceIp, caller, reason),
    });
    this.update(listener, secrets);
  }

  /** Takes a connection that has just been accepted. */
  accept(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    const plain = this.#ofKind("plaintext");
    if (plain === undefined) void this.#acceptTls(socket);
    else this.#serve(socket, plain, undefined);
  }

  /**
   * Takes what a new policy says of this address. Open connections of a server stay, unless it is gone or asks for another
   * handshake now; renewed certificates are for the connections that come.
   */
  update(listener: GatewayListener, secrets: GatewaySecrets): void {
    const sameSecrets = secrets.digest === this.#secrets;
    this.#secrets = secrets.digest;
    const before = this.#servers;
    this.#listener = listener;
    this.#servers = new Map(
      listener.servers.map((policy) => [policy.name, this.#served(policy, secrets, sameSecrets ? before.get(policy.name) : undefined)]),
    );
    this.#updateUpstreams(this.#upstreams);
    const { trustDomains } = this.#options.state.policy;
    this.#http.retain(
      ({ server = "", peer }) =>
        isDeepStrictEqual(this.#servers.get(server)?.policy.security, before.get(server)?.policy.security) &&
        (peer === undefined || isOfTrustDomains(peer.identity, trustDomains)),
    );
  }

  /** Ends the connections of the mesh, after the requests in flight: its TLS settings have changed. */
  retireTls(): void {
    this.#http.retain(({ peer }) => peer === undefined);
    this.#updateUpstreams(new Map());
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
    this.#mesh.close();
    this.#http.close();
    for (const upstream of this.#upstreams.values()) upstream.close();
  }

  #ofKind(kind: "mesh" | "plaintext"): Served | undefined {
    return [...this.#servers.values()].find(({ policy }) => policy.security.kind === kind);
  }

  #served(policy: ServerPolicy, secrets: GatewaySecrets, before: Served | undefined): Served {
    const same = isDeepStrictEqual(before?.policy.security, policy.security);
    return { policy, routes: new RouteTable(policy.hosts), tls: same ? before?.tls : this.#outsideTls(policy, secrets) };
  }

  #outsideTls({ name, security }: ServerPolicy, secrets: GatewaySecrets): OutsideTls | undefined {
    if (security.kind !== "outside") return undefined;
    try {
      return new OutsideTls({
        security,
        secrets,
        handshakeMs: this.#options.limits.handshakeMs,
        onClient: (socket) => this.#serve(socket, this.#servers.get(name), undefined),
        onRefused: (sourceIp, reason) => this.#refused(sourceIp, "", reason),
      });
    } catch (thrown) {
      this.#options.logger.log("error", "a server stays closed", { server: name, reason: AppError.from(thrown).message });
      return undefined;
    }
  }

  /** Connections to services that did not change are kept, as far as they are among `known`. */
  #updateUpstreams(known: ReadonlyMap<string, ServiceUpstream>): void {
    const { state, credentials, limits, servers } = this.#options;
    const before = this.#upstreams;
    const services = state.policy.gateway?.services ?? [];
    this.#upstreams = new Map(
      services.map((service) => {
        const name = `${service.host}:${service.port}`;
        const same = known.get(name);
        if (same !== undefined && isDeepStrictEqual(same.service, service)) return [name, same];
        return [
          name,
          new ServiceUpstream({
            service,
            credentials,
            limits,
            resolver: this.#resolver,
            servers,
            onRefused: (...refused) => this.#refusedServer(...refused),
          }),
        ];
      }),
    );
    for (const [name, upstream] of before) if (this.#upstreams.get(name) !== upstream) upstream.close();
  }

  /** The first message says which server is meant. */
  #serverFor({ serverName, alpn }: ClientHello): Served | undefined {
    const chosen = serverFor(this.#listener, serverName, isOfMesh(alpn));
    return chosen === undefined ? undefined : this.#servers.get(chosen.name);
  }

  async #acceptTls(socket: Socket): Promise<void> {
    const sourceIp = socket.remoteAddress ?? "";
    const hello = await sniff(socket, clientHello, this.#options.limits.handshakeMs);
    if (hello === undefined || hello === "none") {
      socket.destroy();
      // Whoever leaves without a word, as health checks do, is not worth a record.
      if (hello === "none") this.#refused(sourceIp, "", "no TLS where TLS is required");
      return;
    }
    const served = this.#serverFor(hello);
    if (served?.policy.security.kind === "mesh") this.#mesh.serve(socket);
    else if (served?.tls !== undefined) served.tls.serve(socket);
    else {
      socket.destroy();
      this.#refused(sourceIp, "", "no server has the name that the client asks for");
    }
  }

  #serve(socket: Socket | TLSSocket, served: Served | undefined, peer: Peer | undefined): void {
    if (served === undefined || socket.destroyed) {
      socket.destroy();
      return;
    }
    const { port, state } = this.#options;
    const described = describeConnection(socket, { port, identity: state.policy.identity, peer });
    if (described === undefined) {
      socket.destroy();
      return;
    }
    const { policy } = served;
    const alpn = "alpnProtocol" in socket ? socket.alpnProtocol : false;
    const scheme = policy.security.kind === "plaintext" ? "http" : "https";
    void this.#http.serve(socket, { ...described, server: policy.name }, alpn, scheme);
  }

  #forward(head: RequestHead, { server = "" }: PeerConnection): Forwarding {
    const { method, authority, path } = head;
    const asked = { method, authority, path: path.path, linesOf: (name: string) => valuesOf(head.headers, name) };
    const action = this.#servers.get(server)?.routes.choose(asked);
    const reply = (status: number, text: string, headers = NO_HEADERS): Forwarding => ({ kind: "reply", status, text, headers });
    switch (action?.kind) {
      case undefined:
        return reply(404, "no route fits the request");
      case "https":
        return reply(301, "", ["location", `https://${head.authority.replace(/:80$/, "")}${head.path.path}${head.path.query}`]);
      case "misdirected":
        return reply(421, "this server does not serve that host");
      case "unavailable":
        return reply(503, "the route leads to no service");
      case "forward": {
        const upstream = this.#upstreams.get(action.service);
        if (upstream === undefined) return reply(503, "the route leads to no service");
        return { kind: "upstream", upstream, head, service: upstream.service.service };
      }
    }
  }

  #refused(sourceIp: string, caller: string, reason: string): void {
    const { recorder, port } = this.#options;
    recorder.record({ timeMs: BigInt(Date.now()), caller, sourceIp, service: "", protocol: "http", port, ...refusal(reason) });
  }

  #refusedServer({ service, host, protocol }: UpstreamService, { address, port }: ServiceEndpoint, error: AppError): void {
    const { recorder, state, logger } = this.#options;
    logger.log("warn", "a server was refused", { service, endpoint: `${address}:${port}`, reason: error.message });
    const caller = state.policy.identity;
    recorder.record({
      timeMs: BigInt(Date.now()),
      caller,
      service,
      protocol: protocol === "tcp" ? "tcp" : "http",
      host,
      port,
      ...refusal(error.message),
    });
  }
}
