/** HTTP from peers: check, authenticate, decide, and only then forward. */

import { clientMayNotSay } from "../compile/reserved-headers.ts";
import { AppError } from "../core/error.ts";
import { type Asking, type Decision, type Facts, formatBecause } from "../policy/decision.ts";
import { DENIED_BY_HEADER, DENIED_BY_TOKEN, deniedBy } from "../policy/denied-by.ts";
import { formatOrigin } from "../policy/origin.ts";
import type { Requester } from "../policy/requester.ts";
import { JwtFailure } from "../render/decide/tokens/parse.ts";
import { challengeOf } from "./challenge.ts";
import { factsOf, type PeerConnection } from "./client-facts.ts";
import { type Downstream, Exchange, type Outcome } from "./exchange.ts";
import { type Answers, type ExternalAuthorization, type Stopped, withoutReserved } from "./external-authorization.ts";
import type { HttpServerOptions } from "./http1-server.ts";
import type { Limits } from "./limits.ts";
import { ACCESS_DENIED, replyLocally, replyWith } from "./local-reply.ts";
import { type HeaderList, NO_HEADERS, type RequestHead } from "./message.ts";
import { grant, type Permit } from "./permit.ts";
import type { PolicyState } from "./policy-state.ts";
import { type Recorder, type RecordInit, refusal, timing, told, verdictOf } from "./record.ts";
import { checkRequest, isRefused, type RawRequest } from "./request-check.ts";
import type { Tunnel } from "./tunnel.ts";
import type { Upstream } from "./upstream.ts";

/** What becomes of a request that is allowed: it goes on, or the proxy answers it itself. */
export type Forwarding =
  | { readonly kind: "upstream"; readonly upstream: Upstream; readonly head: RequestHead; readonly service?: string }
  | { readonly kind: "reply"; readonly status: number; readonly text: string; readonly headers: HeaderList };

export interface InboundHttpOptions {
  readonly state: PolicyState;
  /** `NAMESPACE/NAME` of the service that leads here, or empty; for the record. */
  readonly service: () => string;
  readonly forward: (permit: Permit, head: RequestHead, connection: PeerConnection) => Forwarding;
  /** At a gateway: clients' word for who they are and how they came is not passed on. */
  readonly edge?: true;
  readonly limits: Limits;
  readonly recorder: Recorder;
  readonly external: ExternalAuthorization;
}

const NOTHING_CARRIED = { status: 0, bytesReceived: 0, bytesSent: 0, failure: undefined, tunnel: undefined } as const satisfies Outcome;

/** A request on its way to a decision, with what has become known of it. */
interface Pending {
  readonly head: RequestHead;
  readonly downstream: Downstream;
  readonly connection: PeerConnection;
  /** Of `performance.now()`. */
  readonly start: number;
  readonly requester?: Requester | undefined;
  /** As it was when authorizers were asked, and what they answered. */
  readonly asked?: Facts;
  readonly answers?: Answers;
}

/** The decision that an authorizer has made. */
function refusedBy({ origin }: Asking): Decision {
  return { effect: "deny", because: { kind: "rule", action: "CUSTOM", origin }, audit: [] };
}

export class InboundHttp {
  readonly #options: InboundHttpOptions;

  constructor(options: InboundHttpOptions) {
    this.#options = options;
  }

  /** For the servers that parse. */
  get handlers(): Pick<HttpServerOptions<PeerConnection>, "handle" | "onMalformed"> {
    return {
      handle: (raw, downstream, connection) => this.handle(raw, downstream, connection),
      onMalformed: (reason, status, connection) => this.malformed(reason, status, connection),
    };
  }

  /** One request, from what the parser understood to the record of what became of it. */
  handle(raw: RawRequest, downstream: Downstream, connection: PeerConnection): void {
    const start = performance.now();
    // 1. Refuse what could be understood in two ways.
    const { forwardedCertificate, sourceIp } = connection;
    const { limits, state, edge } = this.#options;
    const { pathNormalization = "BASE", numTrustedProxies = 0 } = state.policy;
    const options = { maxHeaders: limits.headers, pathNormalization, trustsScheme: numTrustedProxies > 0, forwardedCertificate };
    const head = checkRequest(raw, { ...options, client: edge ? sourceIp : undefined });
    if (isRefused(head)) {
      downstream.last();
      replyLocally(downstream, head.status, head.refused, NO_HEADERS);
      this.#record(connection, { ...describeRaw(raw), status: head.status, ...refusal(head.refused) }, NOTHING_CARRIED, start);
      return;
    }
    const request = { head, downstream, connection, start };
    // 2. Ask whom rules say to ask, before anything is believed of the request.
    const { policy } = this.#options.state;
    if (policy.authorizers === undefined) this.#identify(request);
    else {
      const asking = { ...request, head: withoutReserved(head, clientMayNotSay(policy)) };
      this.#ask(asking).catch((thrown: unknown) => this.#broken(asking, thrown));
    }
  }

  /** Whatever it is, it ends this request and not the proxy. */
  #broken({ head, downstream, connection, start }: Pending, thrown: unknown): void {
    downstream.abort();
    this.#record(connection, { ...describe(head), ...refusal(AppError.from(thrown).message) }, NOTHING_CARRIED, start);
  }

  async #ask(request: Pending): Promise<void> {
    const { head, downstream, connection, start } = request;
    const { state, external } = this.#options;
    const asked = this.#factsOf(request);
    const askings = state.engine.asksHttp(asked);
    if (askings.length === 0) {
      this.#identify({ ...request, asked });
      return;
    }
    const result = await external.askHttp(askings, head, downstream, connection);
    if (downstream.closed || (result.kind === "stopped" && result.status === 0))
      this.#record(connection, { ...describe(head), ...refusal("the client went before an authorizer answered") }, NOTHING_CARRIED, start);
    else if (result.kind === "passed") this.#identify({ ...request, ...result, asked });
    else this.#stop(request, result);
  }

  #stop({ head, downstream, connection, start }: Pending, { asking, detail, ...answer }: Stopped): void {
    const status = replyWith(downstream, answer, head, asking === undefined ? NO_HEADERS : this.#told(formatOrigin(asking.origin)));
    const verdict = asking === undefined ? refusal(detail) : { ...verdictOf(refusedBy(asking)), detail };
    this.#record(connection, { ...describe(head), ...verdict }, { ...NOTHING_CARRIED, status }, start);
  }

  // 3. Authenticate, where a rule looks at tokens.
  #identify(request: Pending): void {
    const { head, downstream, connection, start } = request;
    const asked = this.#options.state.authentication?.authenticate(head) ?? { head, requester: undefined };
    if (asked instanceof JwtFailure) {
      const more = [...challengeOf(asked, head), ...this.#told(DENIED_BY_TOKEN)];
      const status = replyLocally(downstream, asked.status, asked.text, head.headers, more);
      this.#record(connection, { ...describe(head), ...refusal(asked.text) }, { ...NOTHING_CARRIED, status }, start);
    } else this.#decide({ ...request, ...asked });
  }

  #decide(request: Pending): void {
    const { head, downstream, connection, start } = request;
    // 4. Decide, by the policy of this moment.
    const decision = this.#options.state.engine.http(this.#factsOf(request));
    const permit = connection.draining ? undefined : grant(decision);
    if (permit === undefined) {
      const told = connection.draining ? NO_HEADERS : this.#told(deniedBy(decision));
      const status = replyLocally(downstream, 403, ACCESS_DENIED, head.headers, told);
      const verdict = connection.draining ? refusal("the connection is from before the port's mode changed") : verdictOf(decision);
      this.#record(connection, { ...describe(head), ...verdict }, { ...NOTHING_CARRIED, status }, start);
      return;
    }
    // 5. Forward; the permit opens the way.
    const way = this.#options.forward(permit, head, connection);
    if (way.kind === "reply") {
      const status = replyLocally(downstream, way.status, way.text, head.headers, way.headers);
      this.#record(connection, { ...describe(head), ...verdictOf(decision), detail: way.text }, { ...NOTHING_CARRIED, status }, start);
      return;
    }
    const service = way.service === undefined ? {} : { service: way.service };
    const described = { ...describe(head), ...verdictOf(permit.decision), ...service };
    const finish = (outcome: Outcome) => this.#finish(request, described, outcome);
    new Exchange(way.head, downstream, way.upstream, finish, this.#withheld).start();
  }

  /** What a denied client is told of the rule, where the workload's owner wants that. */
  #told(origin: string): HeaderList {
    return this.#options.state.policy.tellsDenials === true ? [DENIED_BY_HEADER, origin] : NO_HEADERS;
  }

  /**
   * What an application says of rules is not true, and what a proxy within tells of them is not for outsiders; where neither
   * counts, the name is the application's own.
   */
  get #withheld(): readonly string[] {
    const { state, edge } = this.#options;
    return edge === true || state.policy.tellsDenials === true ? [DENIED_BY_HEADER] : [];
  }

  #factsOf({ connection, head, requester, asked, answers }: Pending): Facts {
    const { state, edge } = this.#options;
    const { numTrustedProxies = 0 } = state.policy;
    // A gateway has added the connection's own address behind what the proxies in front have told.
    const trusted = edge && numTrustedProxies > 0 ? numTrustedProxies + 1 : numTrustedProxies;
    const facts = factsOf(connection, head, requester, trusted);
    return { ...facts, ...(asked === undefined ? {} : { asked }), ...(answers === undefined ? {} : { authorizers: answers }) };
  }

  /** What no parser accepts; there may be no request to speak of. */
  malformed(reason: string, status: number, connection: PeerConnection): void {
    const record = { status, ...refusal(`malformed HTTP: ${reason}`) };
    this.#record(connection, record, NOTHING_CARRIED, performance.now());
  }

  #finish(request: Pending, described: RecordInit, outcome: Outcome): void {
    const { cut } = request.connection;
    const ended = cut === undefined ? described : { ...described, detail: cut };
    if (outcome.tunnel === undefined) this.#record(request.connection, ended, outcome, request.start);
    else this.#follow(outcome.tunnel, request, described, outcome);
  }

  /** A WebSocket lives long: it ends when a new policy would not allow its request. */
  #follow(tunnel: Tunnel, request: Pending, described: RecordInit, outcome: Outcome): void {
    const { state } = this.#options;
    let detail: RecordInit = {};
    const unwatch = state.watch({
      reconsider: () => {
        const decision = state.engine.http(this.#factsOf(request));
        if (decision.effect === "allow") return;
        detail = { detail: `cut by a new policy: ${formatBecause(decision.because)}` };
        tunnel.cut();
      },
    });
    void tunnel.closed.then((end) => {
      unwatch();
      this.#record(request.connection, { ...described, ...detail }, { ...outcome, ...end }, request.start);
    });
  }

  #record(connection: PeerConnection, described: RecordInit, outcome: Outcome, start: number): void {
    const { peer, sourceIp, destinationPort, tls } = connection;
    this.#options.recorder.record({
      ...timing(start),
      caller: peer?.identity ?? "",
      sourceIp,
      service: this.#options.service(),
      protocol: "http",
      port: destinationPort,
      tls,
      status: outcome.status,
      bytesReceived: BigInt(outcome.bytesReceived),
      bytesSent: BigInt(outcome.bytesSent),
      ...failureDetail(outcome.failure),
      ...described,
    });
  }
}

function failureDetail(failure: AppError | undefined): RecordInit {
  return failure === undefined ? {} : { detail: `the application gave no whole response: ${failure.message}` };
}

function describe({ method, path, authority }: RequestHead): RecordInit {
  return { method: told(method, 64), path: told(path.path, 2_048), host: told(authority, 512) };
}

/** As it came, since it could not be understood; bounded, without its query. */
function describeRaw({ method, target, authority }: RawRequest): RecordInit {
  return { method: told(method, 32), path: told(target.split(/[?#]/, 1)[0] ?? "", 1_024), host: told(authority ?? "", 255) };
}
