/** One ADS stream of either variant: admission, requests in, newest state out. */
import { Metadata, type ServerDuplexStream } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { writeInPieces } from "../rpc/pieces.ts";
import { toGrpcStatus } from "../rpc/status.ts";
import type { ChangedTypes, ResourceCache } from "./cache.ts";
import type { AckState, ResourceName, TypeStatus, XdsConnection } from "./connection.ts";
import { checkString, checkStrings, clipMessage, type XdsLimits } from "./limits.ts";
import { decodeNode, type XdsNode } from "./node.ts";
import type { Answer } from "./push.ts";
import { Subscription } from "./subscription.ts";
import { type Due, Subscriptions } from "./subscriptions.ts";
import type { Sender, Turns } from "./turns.ts";
import { CLUSTER, ENDPOINTS, FIRST_ANSWER_ONLY } from "./types.ts";
import type { DiscoveryRequestBase, Variant } from "./variant.ts";

/** What proves who opened a stream. */
export interface XdsPeer {
  /** DER of the verified client certificate. */
  readonly certificate: Uint8Array | undefined;
  readonly address: string;
}

export interface Admission {
  /** Whose resources the stream gets. */
  readonly key: string;
  /** Milliseconds since the Unix epoch at which the stream is ended: the end of the identity that opened it. */
  readonly expiresAt?: number;
}

/** What a stream asks of the service that holds it. */
export interface StreamOwner {
  readonly cache: ResourceCache;
  readonly clock: Clock;
  /** For how long something takes. */
  readonly steady: Clock;
  readonly limits: XdsLimits;
  readonly turns: Turns;
  admit(peer: XdsPeer, node: XdsNode): Promise<Admission> | Admission;
  /** Of a type, the versions by name that the client of this key refused; outlives its streams. */
  refusedVersions(key: string, typeUrl: string): Map<string, string>;
  /** The stream has its key; from here on it counts as a connection. */
  admitted(stream: XdsStream): void;
  answered(stream: XdsStream, typeUrl: string, answer: Answer): void;
  /** What the client asked for, was sent or answered changed. */
  changed(stream: XdsStream): void;
  ended(stream: XdsStream, reason: AppError | undefined): void;
  /** It was ended and does not read: its connection ends at once. */
  abandoned(stream: XdsStream): void;
}

/** A connection with the means to end it. */
export interface XdsStream extends XdsConnection, Sender {
  readonly isAdmitted: boolean;
  /** Called once a second: deadlines, and a fresh budget of requests. */
  tick(now: number): void;
  fail(reason: AppError): void;
}

export type AdsCall<Request> = ServerDuplexStream<Request | AppError, Buffer>;

export class AdsStream<Request extends DiscoveryRequestBase> implements XdsStream {
  readonly #call: AdsCall<Request>;
  readonly #variant: Variant<Request>;
  readonly #owner: StreamOwner;
  readonly connectedAt: number;
  readonly address: string;
  #node: XdsNode | undefined;
  #admission: Admission | undefined;
  #unwatch: (() => void) | undefined;
  readonly #subscriptions = new Subscriptions();
  /** The client was connected before, with the same state as now. */
  #resumed = false;
  /** Clusters sent before the client has said which endpoints it has. */
  readonly #warmLater = new Set<string>();
  #nonces = 0;
  #budget: number;
  /** One response at a time is in gRPC's hands; what changes meanwhile is not queued but found when it is written. */
  #writing = false;
  #ended = false;

  constructor(call: AdsCall<Request>, variant: Variant<Request>, owner: StreamOwner) {
    this.#call = call;
    this.#variant = variant;
    this.#owner = owner;
    this.#budget = owner.limits.requestsPerSecond;
    this.connectedAt = owner.clock.now();
    this.address = call.getPeer();
    call.on("data", (request: Request | AppError) => this.#receive(request));
    call.on("end", () => this.#finish(undefined));
    call.on("cancelled", () => {
      this.#finish(undefined);
      owner.turns.ended(this, true);
    });
  }

  // === connection ===

  get key(): string {
    return this.#admission?.key ?? "";
  }

  get variant(): "delta" | "sotw" {
    return this.#variant.name;
  }

  get nodeId(): string {
    return this.#node?.id ?? "";
  }

  get userAgent(): string {
    return this.#node?.userAgent ?? "";
  }

  get expiresAt(): number | undefined {
    return this.#admission?.expiresAt;
  }

  get isAdmitted(): boolean {
    return this.#admission !== undefined;
  }

  get types(): readonly TypeStatus[] {
    return [...this.#subscriptions.all].map((subscription) => subscription.status());
  }

  get behind(): readonly ResourceName[] {
    const set = this.#owner.cache.get(this.key) ?? new Map();
    return [...set].flatMap(([typeUrl, resources]) =>
      [...resources.values()].flatMap(({ name, version }) => (this.accepted(typeUrl, name) === version ? [] : { typeUrl, name })),
    );
  }

  get state(): AckState {
    const subscriptions = [...this.#subscriptions.all];
    if (!this.#owner.cache.isCurrent(this.key) || subscriptions.some(({ isPending }) => isPending)) return "pending";
    // Before what is behind: of a listener that was refused, nobody asks for the filters.
    if (subscriptions.some(({ state }) => state === "rejected")) return "rejected";
    return this.behind.length > 0 ? "pending" : "acked";
  }

  accepted(typeUrl: string, name: string): string | undefined {
    return this.#subscriptions.get(typeUrl)?.accepted(name);
  }

  // === requests ===

  #receive(request: Request | AppError): void {
    if (this.#ended) return;
    this.#budget -= 1;
    if (this.#budget <= 0) this.#call.pause();
    try {
      if (request instanceof AppError) throw request;
      if (this.#admission !== undefined) this.#handle(request);
      else void this.#admit(request);
    } catch (error) {
      this.fail(AppError.from(error));
    }
  }

  /** Nothing further is read until the first request has been admitted. */
  async #admit(first: Request): Promise<void> {
    this.#call.pause();
    try {
      this.#node = decodeNode(first.node);
      const certificate = this.#call.getAuthContext().sslPeerCertificate?.raw;
      const admission = await this.#owner.admit({ certificate, address: this.address }, this.#node);
      if (this.#ended) return;
      this.#admission = admission;
      this.#owner.admitted(this);
      if (this.#ended) return;
      this.#unwatch = this.#owner.cache.watch(admission.key, (changed) => this.#cacheChanged(changed));
      this.#call.sendMetadata(new Metadata()); // tells the client that it was admitted, though there may be nothing to send
      this.#handle(first);
      if (this.#budget > 0) this.#call.resume();
    } catch (error) {
      this.fail(AppError.from(error));
    }
  }

  #handle(request: Request): void {
    if (request.node !== undefined && request.node.id !== "" && request.node.id !== this.nodeId) {
      throw new AppError("invalid-argument", "the node id changed within a stream");
    }
    checkStrings(this.#variant.strings(request), this.#owner.limits);
    const known = this.#subscriptions.get(request.typeUrl);
    this.#resumed ||= known === undefined && this.#variant.resumes(request);
    const subscription = known ?? this.#open(request.typeUrl);
    if (!this.#variant.isCurrent(subscription, request)) return;
    this.#takeAnswer(subscription, request);
    this.#variant.subscribe(subscription, request, known === undefined);
    if (request.typeUrl === ENDPOINTS) this.#warmWaiting(subscription);
    this.#checkNames();
    this.#push();
    this.#owner.changed(this);
  }

  #warmWaiting(endpoints: Subscription): void {
    endpoints.forget(this.#warmLater);
    this.#warmLater.clear();
  }

  #open(typeUrl: string): Subscription {
    if (typeUrl === "") throw new AppError("invalid-argument", "a request carries no type URL");
    checkString("a type URL", typeUrl);
    if (this.#subscriptions.size >= this.#owner.limits.types) {
      throw new AppError("resource-exhausted", `a stream subscribes to more than ${this.#owner.limits.types} types`);
    }
    const subscription = new Subscription(typeUrl, this.#variant.name, this.#refusedVersions(typeUrl));
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** A client that starts anew has refused nothing yet. */
  #refusedVersions(typeUrl: string): Map<string, string> {
    if (!FIRST_ANSWER_ONLY.has(typeUrl)) return new Map();
    const refused = this.#owner.refusedVersions(this.key, typeUrl);
    if (!this.#resumed) refused.clear();
    return refused;
  }

  #takeAnswer(subscription: Subscription, request: Request): void {
    if (request.responseNonce === "") return;
    const message = request.errorDetail === undefined ? undefined : clipMessage(request.errorDetail.message);
    const answer = subscription.answer(request.responseNonce, message, this.#owner.steady.now());
    if (answer === undefined) return;
    this.#owner.answered(this, subscription.typeUrl, answer);
    if (answer.recovered) for (const other of this.#subscriptions.all) if (other !== subscription) other.offerRejected();
  }

  #checkNames(): void {
    const most = this.#owner.limits.names;
    if (this.#subscriptions.names > most) throw new AppError("resource-exhausted", `a stream subscribes to more than ${most} names`);
  }

  // === responses ===

  #cacheChanged(changed: ChangedTypes): void {
    for (const subscription of this.#subscriptions.all) if (changed === "all" || changed.has(subscription.typeUrl)) subscription.touch();
    this.#push();
    this.#owner.changed(this);
  }

  #push(): void {
    if (!this.#writing && !this.#ended && this.#subscriptions.isDue) this.#owner.turns.ask(this, this.#subscriptions.hasNew);
  }

  /** Whatever is wrong with it concerns no other stream, at whose end its turn may have come. */
  send(): void {
    const set = this.#owner.cache.get(this.key);
    if (this.#writing || this.#ended || set === undefined) return;
    try {
      const due = this.#subscriptions.next(set);
      if (due !== undefined) this.#write(due);
    } catch (error) {
      this.fail(AppError.from(error));
    }
  }

  #write({ subscription, push, version }: Due): void {
    this.#nonces += 1;
    const header = { typeUrl: subscription.typeUrl, nonce: String(this.#nonces), version };
    subscription.commit(push, header.nonce, version, this.#owner.steady.now());
    if (subscription.typeUrl === CLUSTER) this.#rewarm(push.news);
    const bytes = this.#variant.encode(header, push);
    this.#writing = true;
    this.#owner.turns.sent(this, bytes.length);
    const { turns } = this.#owner;
    const done = (): void => {
      this.#writing = false;
      turns.done(this);
      this.#push();
      this.#owner.changed(this);
    };
    writeInPieces(this.#call, bytes, { moved: () => turns.moved(this), done });
  }

  /**
   * Envoy warms a changed cluster only on a new response with its endpoints, though they be the same (xDS protocol,
   * "Resource warming"). Endpoints are named after their cluster.
   */
  #rewarm(clusters: readonly string[]): void {
    const endpoints = this.#subscriptions.get(ENDPOINTS);
    if (endpoints === undefined) for (const name of clusters) this.#warmLater.add(name);
    else endpoints.forget(clusters);
  }

  // === end ===

  tick(now: number): void {
    const { limits, steady } = this.#owner;
    const { expiresAt = Number.POSITIVE_INFINITY } = this.#admission ?? {};
    if (!this.isAdmitted && now - this.connectedAt >= limits.admissionMs) {
      this.fail(new AppError("deadline-exceeded", `the stream was not admitted within ${limits.admissionMs} ms`));
    } else if (now >= expiresAt) {
      this.fail(new AppError("unauthenticated", "the certificate that opened the stream has expired"));
    } else if (this.#subscriptions.isUnanswered(steady.now() - limits.answerMs)) {
      this.fail(new AppError("deadline-exceeded", `a response was not answered within ${limits.answerMs} ms`));
    } else {
      if (this.#subscriptions.offerRefused(steady.now() - limits.refusedMs)) this.#push();
      if (this.#budget < limits.requestsPerSecond) this.#refill();
    }
  }

  stalled(): void {
    this.fail(new AppError("deadline-exceeded", "a response was not read while others waited for the memory that it takes"));
  }

  abandoned(): void {
    this.#owner.abandoned(this);
  }

  #refill(): void {
    this.#budget = this.#owner.limits.requestsPerSecond;
    if (this.isAdmitted) this.#call.resume();
  }

  fail(reason: AppError): void {
    if (this.#ended) return;
    const status = toGrpcStatus(reason);
    this.#finish(reason);
    this.#call.emit("error", Object.assign(new Error(status.details), status));
    this.#call.resume(); // so that the end of the client's side is seen
  }

  #finish(reason: AppError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#unwatch?.();
    this.#owner.ended(this, reason);
    if (reason === undefined) this.#call.end();
  }
}
