/** Connections from peers that are passed on as bytes: decided once when they begin, and again with each new policy. */
import type { Socket } from "node:net";
import { OWN_TLS_PASSED } from "../compile/mesh-alpn.ts";
import type { InboundListener } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import { type Facts, formatBecause } from "../policy/decision.ts";
import { factsOf, type PeerConnection } from "./client-facts.ts";
import type { ExternalAuthorization } from "./external-authorization.ts";
import type { Limits } from "./limits.ts";
import type { LocalEndpoint } from "./local-endpoint.ts";
import { grant } from "./permit.ts";
import type { PolicyState } from "./policy-state.ts";
import { type Recorder, type RecordInit, timing, verdictOf } from "./record.ts";
import { type Tunnel, tunnel } from "./tunnel.ts";

export interface InboundTcpOptions {
  readonly listener: () => InboundListener;
  readonly state: PolicyState;
  readonly endpoint: () => LocalEndpoint;
  readonly limits: Limits;
  readonly recorder: Recorder;
  readonly external: ExternalAuthorization;
}

const NOT_ASKED = { answers: new Map(), detail: "" } as const;

function passedOn({ ownTls }: PeerConnection): string {
  return ownTls === true ? OWN_TLS_PASSED : "";
}

export class InboundTcp {
  readonly #options: InboundTcpOptions;

  constructor(options: InboundTcpOptions) {
    this.#options = options;
  }

  /** One connection, from its first moment to the record of what became of it. Never rejects. */
  async handle(socket: Socket, connection: PeerConnection): Promise<void> {
    const start = performance.now();
    const { state, external } = this.#options;
    const askings = state.engine.asksTcp(factsOf(connection, undefined));
    const asked = askings.length === 0 ? NOT_ASKED : await external.askTcp(askings, connection);
    const facts: Facts = { ...factsOf(connection, undefined), authorizers: asked.answers };
    const decision = state.engine.tcp(facts);
    const permit = grant(decision);
    const detail = asked.detail === "" && decision.effect === "allow" ? passedOn(connection) : asked.detail;
    const verdict = { ...verdictOf(decision), ...(detail === "" ? {} : { detail }) };
    if (permit === undefined) {
      socket.destroy();
      this.#record(connection, verdict, start);
      return;
    }
    try {
      const endpoint = await this.#options.endpoint().tcp(permit);
      await this.#follow(tunnel(socket, endpoint, this.#options.limits.idleMs), connection, facts, verdict, start);
    } catch (thrown) {
      socket.destroy();
      const detail = `the application could not be reached: ${AppError.from(thrown).message}`;
      this.#record(connection, { ...verdict, detail }, start);
    }
  }

  async #follow(open: Tunnel, connection: PeerConnection, facts: Facts, verdict: RecordInit, start: number): Promise<void> {
    const { state } = this.#options;
    let detail = passedOn(connection);
    const reconsider = () => {
      const decision = state.engine.tcp(facts);
      if (decision.effect === "allow") return;
      detail = `cut by a new policy: ${formatBecause(decision.because)}`;
      open.cut();
    };
    const unwatch = state.watch({ reconsider });
    // The policy may have changed while the application was connected to.
    reconsider();
    const { bytesReceived, bytesSent } = await open.closed;
    unwatch();
    this.#record(connection, { ...verdict, detail, bytesReceived: BigInt(bytesReceived), bytesSent: BigInt(bytesSent) }, start);
  }

  #record(connection: PeerConnection, described: RecordInit, start: number): void {
    const { peer, sourceIp, destinationPort, tls } = connection;
    this.#options.recorder.record({
      ...timing(start),
      caller: peer?.identity ?? "",
      sourceIp,
      service: this.#options.listener().services[0] ?? "",
      protocol: "tcp",
      port: destinationPort,
      tls,
      ...described,
    });
  }
}
