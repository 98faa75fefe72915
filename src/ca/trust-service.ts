/** `garrison.v1.TrustBundles`: every agent follows what it is to trust, and says what it has put in force. */
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import { steady } from "../core/steady.ts";
import type { TrustReport, TrustUpdate } from "../gen/garrison/v1/trust_pb.js";
import { type AdmitAgent, AgentStreams } from "../rpc/agent-streams.ts";
import { FollowerStream, type TrustCall, type TrustFollower } from "./trust-follower.ts";
import type { TrustState } from "./trust-state.ts";

export interface TrustServiceOptions {
  readonly current: () => TrustState;
  readonly admit: AdmitAgent;
  /** Whether the certificate with this serial number (lower-case hex) is revoked. */
  readonly isRevoked: (serial: string) => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

const TICK_MS = 1_000;
/** Reports of one workload: one for each update and each certificate. */
const PER_SECOND = 10;
const AT_ONCE = 50;
/** Renewals that the CA is asked for in a second when an authority is tainted. */
const RENEWALS_PER_SECOND = 200;
const LEAST_SPREAD_MS = 200;

export class TrustService {
  readonly #options: TrustServiceOptions;
  /** For how long an agent has refused something. */
  readonly #steady: Clock;
  readonly #streams: AgentStreams<TrustReport, TrustUpdate, FollowerStream>;
  readonly #watchers = new Set<() => void>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: TrustServiceOptions) {
    this.#options = options;
    this.#steady = steady(options.clock);
    this.#streams = new AgentStreams({
      ...options,
      what: "the trust bundle",
      perSecond: PER_SECOND,
      atOnce: AT_ONCE,
      begin: (call, agent) => new FollowerStream(call, agent, options.clock.now()),
      take: (follower, report) => this.#take(follower, report),
      onEnd: () => this.#tell(),
    });
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** For `server.addService(serviceDefinition(TrustBundles), …)`. */
  get implementation() {
    return { Follow: (call: TrustCall) => this.#streams.open(call) };
  }

  /** The agents that are connected. */
  get followers(): readonly TrustFollower[] {
    return this.#streams.all;
  }

  /** Trust changed, or something was revoked: everybody whom it concerns is told. */
  publish(): void {
    for (const follower of this.#streams.all) this.#offer(follower);
    this.#tell();
  }

  /** Resolves with whether `isDone` came true within the time. It is looked at whenever an agent comes, goes or reports. */
  whenever(isDone: () => boolean, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (done: boolean) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve(done);
      };
      const look = () => {
        if (isDone()) settle(true);
      };
      const timer = setTimeout(() => settle(isDone()), timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }

  close(): void {
    clearInterval(this.#timer);
    this.#streams.close();
  }

  #take(follower: FollowerStream, report: TrustReport): void {
    follower.take(report, this.#steady.now());
    if (report.refusal !== "")
      this.#options.logger.log("warn", "an agent refused the trust bundle", { workload: follower.workload, reason: follower.refusal });
    this.#offer(follower);
    this.#tell();
  }

  #offer(follower: FollowerStream): void {
    const spread = Math.max(LEAST_SPREAD_MS, (this.#streams.count / RENEWALS_PER_SECOND) * 1000);
    const { current, isRevoked } = this.#options;
    follower.offer(current(), Math.ceil(spread), isRevoked(follower.serial));
  }

  #tick(): void {
    this.#streams.expire();
    const now = this.#steady.now();
    for (const follower of this.#streams.all) {
      follower.forgive(now);
      this.#offer(follower);
    }
  }

  #tell(): void {
    for (const look of [...this.#watchers]) look();
  }
}
