/** All streams of the service: their bounds, their deadlines, and who is told of what. */
import { type Clock, systemClock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { steady } from "../core/steady.ts";
import type { ResourceCache } from "./cache.ts";
import type { AckState, XdsEvent } from "./connection.ts";
import { DEFAULT_LIMITS, type XdsLimits } from "./limits.ts";
import type { XdsNode } from "./node.ts";
import type { Answer } from "./push.ts";
import { type Admission, type AdsCall, AdsStream, type StreamOwner, type XdsPeer, type XdsStream } from "./stream.ts";
import { Turns } from "./turns.ts";
import type { DiscoveryRequestBase, Variant } from "./variant.ts";

export interface AdsServiceOptions {
  readonly cache: ResourceCache;
  readonly logger: Logger;
  /** Decides on a stream's first request whose resources it gets; throws an AppError to refuse. */
  readonly admit: (peer: XdsPeer, node: XdsNode) => Promise<Admission> | Admission;
  /** A stream of this key was admitted; called before its first response, so that the owner can fill the cache. */
  readonly connected?: (key: string) => void;
  /** A stream of this key ended: once for each call of `connected`. */
  readonly disconnected?: (key: string) => void;
  readonly clock?: Clock;
  readonly limits?: Partial<XdsLimits>;
  /** Milliseconds between two looks at the deadlines. */
  readonly tickMs?: number;
  /** Ends the connection from an address (as gRPC prints it) at once, with all that waits there to be read. */
  readonly abort?: (address: string) => void;
}

export class Streams implements StreamOwner {
  readonly cache: ResourceCache;
  readonly clock: Clock;
  readonly steady: Clock;
  readonly limits: XdsLimits;
  readonly turns: Turns;
  readonly #options: AdsServiceOptions;
  readonly #waiting = new Set<XdsStream>();
  readonly #byKey = new Map<string, Set<XdsStream>>();
  readonly #refused = new Map<string, Map<string, Map<string, string>>>();
  /** Those of them whose streams have all ended: the pods of a cluster come and go, and each has a key of its own. */
  readonly #away = new Set<string>();
  readonly #listeners = new Set<(event: XdsEvent) => void>();
  /** By key, what looks again when something changed there. */
  readonly #waiters = new Map<string, Set<() => void>>();
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(options: AdsServiceOptions) {
    this.#options = options;
    this.cache = options.cache;
    this.clock = options.clock ?? systemClock;
    this.steady = steady(this.clock);
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.turns = new Turns(this.limits, () => this.steady.now());
    this.#timer = setInterval(() => this.#tick(), options.tickMs ?? 1_000).unref();
  }

  open<Request extends DiscoveryRequestBase>(call: AdsCall<Request>, variant: Variant<Request>): void {
    const stream = new AdsStream(call, variant, this);
    if (this.#closed) stream.fail(new AppError("unavailable", "the control plane is shutting down"));
    else if (this.#waiting.size >= this.limits.waitingStreams)
      stream.fail(new AppError("unavailable", "too many streams wait to be admitted"));
    else this.#waiting.add(stream);
  }

  all(): readonly XdsStream[] {
    return [...this.#byKey.values()].flatMap((streams) => [...streams]);
  }

  of(key: string): readonly XdsStream[] {
    return [...(this.#byKey.get(key) ?? [])];
  }

  #tick(): void {
    const now = this.clock.now();
    for (const stream of [...this.#waiting, ...this.all()]) stream.tick(now);
    this.turns.tick();
  }

  // === what streams tell ===

  admit(peer: XdsPeer, node: XdsNode): Promise<Admission> | Admission {
    return this.#options.admit(peer, node);
  }

  refusedVersions(key: string, typeUrl: string): Map<string, string> {
    const types = this.#refused.get(key) ?? new Map<string, Map<string, string>>();
    const versions = types.get(typeUrl) ?? new Map<string, string>();
    this.#refused.set(key, types.set(typeUrl, versions));
    return versions;
  }

  admitted(stream: XdsStream): void {
    const { key } = stream;
    const streams = this.#byKey.get(key) ?? new Set();
    const [oldest] = streams;
    if (oldest !== undefined && streams.size >= this.limits.streamsPerKey) {
      oldest.fail(new AppError("resource-exhausted", `more than ${this.limits.streamsPerKey} streams of one workload`));
    }
    this.#waiting.delete(stream);
    this.#away.delete(key);
    this.#byKey.set(key, streams.add(stream));
    this.#options.logger.log("info", "a proxy connected", { key, node: stream.nodeId, address: stream.address, variant: stream.variant });
    this.#emit({ kind: "connected", key, connection: stream });
    this.#options.connected?.(key);
  }

  answered(stream: XdsStream, typeUrl: string, { version, names, message, latencyMs, repeated }: Answer): void {
    const about = { key: stream.key, connection: stream, typeUrl, version, latencyMs };
    if (message === undefined) {
      this.#emit({ kind: "ack", ...about });
      return;
    }
    this.#options.logger.log(repeated ? "debug" : "warn", "a proxy refused its configuration", {
      key: stream.key,
      typeUrl,
      names: names.slice(0, 3).join(" "),
      message,
    });
    this.#emit({ kind: "nack", ...about, names, message });
  }

  changed({ key }: XdsStream): void {
    for (const check of [...(this.#waiters.get(key) ?? [])]) check();
  }

  ended(stream: XdsStream, reason: AppError | undefined): void {
    const { key } = stream;
    const level = reason === undefined ? "info" : "warn";
    this.#options.logger.log(level, "a proxy's stream ended", {
      key,
      node: stream.nodeId,
      address: stream.address,
      reason: reason?.message,
    });
    this.turns.ended(stream, false);
    this.#waiting.delete(stream);
    const streams = this.#byKey.get(key);
    if (streams?.delete(stream) !== true) return;
    if (streams.size === 0) this.#forget(key);
    this.#emit({ kind: "disconnected", key, connection: stream });
    this.#options.disconnected?.(key);
    this.changed(stream);
  }

  abandoned({ address }: XdsStream): void {
    this.#options.abort?.(address);
  }

  #forget(key: string): void {
    this.#byKey.delete(key);
    const refused = [...(this.#refused.get(key)?.values() ?? [])];
    if (refused.every((versions) => versions.size === 0)) this.#refused.delete(key);
    else this.#away.add(key);
    const [oldest] = this.#away;
    if (oldest === undefined || this.#away.size <= this.limits.refusedAway) return;
    this.#away.delete(oldest);
    this.#refused.delete(oldest);
  }

  #emit(event: XdsEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  // === what the owner asks ===

  onEvent(listener: (event: XdsEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  ackState(key: string): AckState | "none" {
    const states = this.of(key).map((stream) => stream.state);
    if (states.length === 0) return "none";
    return states.find((state) => state === "pending") ?? states.find((state) => state === "rejected") ?? "acked";
  }

  whenAcked(key: string, timeoutMs: number): Promise<AckState | "none"> {
    return new Promise((resolve) => {
      const settle = (state: AckState | "none"): void => {
        clearTimeout(timer);
        this.#unwait(key, check);
        resolve(state);
      };
      const check = (): void => {
        const state = this.ackState(key);
        if (state === "acked" || state === "rejected") settle(state);
      };
      const timer = setTimeout(() => settle(this.ackState(key)), timeoutMs);
      this.#waiters.set(key, (this.#waiters.get(key) ?? new Set()).add(check));
      check();
    });
  }

  #unwait(key: string, check: () => void): void {
    const checks = this.#waiters.get(key);
    if (checks?.delete(check) === true && checks.size === 0) this.#waiters.delete(key);
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const stream of [...this.#waiting, ...this.all()]) stream.fail(new AppError("unavailable", "the control plane is shutting down"));
  }
}
