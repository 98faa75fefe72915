/** `garrison.v1.TrustBundles`: every agent follows what it is to trust, and says what it has put in force. */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { TrustReport } from "../gen/garrison/v1/trust_pb.js";
import { RateLimit } from "../rpc/rate-limit.ts";
import { toGrpcStatus } from "../rpc/status.ts";
import { type AdmittedAgent, FollowerStream, type TrustCall, type TrustFollower } from "./trust-follower.ts";
import type { TrustState } from "./trust-state.ts";

export interface TrustServiceOptions {
  readonly current: () => TrustState;
  /** Who opened a stream for a workload. Throws an AppError to refuse. */
  readonly admit: (certificate: Uint8Array | undefined, workload: string) => AdmittedAgent;
  /** Whether the certificate with this serial number (lower-case hex) is revoked. */
  readonly isRevoked: (serial: string) => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

const MAX_STREAMS = 50_000;
/** A restarted agent's old stream may linger. */
const MAX_STREAMS_PER_WORKLOAD = 4;
const MAX_WAITING = 10_000;
const FIRST_REPORT_MS = 10_000;
const TICK_MS = 1_000;
/** Reports of one workload: one for each update and each certificate. */
const PER_SECOND = 10;
const AT_ONCE = 50;
/** Renewals that the CA is asked for in a second when an authority is tainted. */
const RENEWALS_PER_SECOND = 200;
const LEAST_SPREAD_MS = 200;

function refuseCall(call: TrustCall, reason: AppError): void {
  call.emit("error", Object.assign(new Error(reason.message), toGrpcStatus(reason)));
}

export class TrustService {
  readonly #options: TrustServiceOptions;
  readonly #limit: RateLimit;
  /** By workload. */
  readonly #followers = new Map<string, Set<FollowerStream>>();
  readonly #watchers = new Set<() => void>();
  readonly #timer: NodeJS.Timeout;
  #streams = 0;
  #waiting = 0;
  #closed = false;

  constructor(options: TrustServiceOptions) {
    this.#options = options;
    this.#limit = new RateLimit({ perSecond: PER_SECOND, atOnce: AT_ONCE, clock: options.clock });
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** For `server.addService(serviceDefinition(TrustBundles), …)`. */
  get implementation() {
    return { Follow: (call: TrustCall) => this.#open(call) };
  }

  /** The agents that are connected. */
  get followers(): readonly TrustFollower[] {
    return this.#all();
  }

  /** Trust changed, or something was revoked: everybody whom it concerns is told. */
  publish(): void {
    for (const follower of this.#all()) this.#offer(follower);
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
    this.#closed = true;
    clearInterval(this.#timer);
    for (const follower of this.#all()) this.#end(follower, new AppError("unavailable", "the control plane is shutting down"));
  }

  #open(call: TrustCall): void {
    call.on("error", () => undefined);
    if (this.#closed || this.#waiting >= MAX_WAITING || this.#streams >= MAX_STREAMS) {
      refuseCall(call, new AppError("resource-exhausted", "too many agents are connected"));
      return;
    }
    let follower: FollowerStream | undefined;
    let state: "waiting" | "following" | "over" = "waiting";
    this.#waiting += 1;
    const become = (next: "following" | "over") => {
      if (state === "waiting") this.#waiting -= 1;
      state = next;
      clearTimeout(late);
    };
    const end = (reason: AppError | undefined) => {
      become("over");
      if (follower !== undefined) this.#end(follower, reason);
      else if (reason !== undefined) refuseCall(call, reason);
    };
    const late = setTimeout(() => end(new AppError("deadline-exceeded", "the stream did not begin with a report")), FIRST_REPORT_MS);
    call.on("data", (report: TrustReport) => {
      if (state === "over") return;
      try {
        follower ??= this.#admit(call, report);
        become("following");
        this.#take(follower, report);
      } catch (thrown) {
        end(AppError.from(thrown));
      }
    });
    for (const event of ["end", "cancelled", "close"]) call.on(event, () => end(undefined));
  }

  #admit(call: TrustCall, { workload }: TrustReport): FollowerStream {
    const certificate = call.getAuthContext().sslPeerCertificate?.raw;
    const agent = this.#options.admit(certificate, workload);
    const follower = new FollowerStream(call, agent, this.#options.clock.now());
    const others = this.#followers.get(agent.workload) ?? new Set();
    const [oldest] = others;
    this.#followers.set(agent.workload, others.add(follower));
    this.#streams += 1;
    if (oldest !== undefined && others.size > MAX_STREAMS_PER_WORKLOAD)
      this.#end(oldest, new AppError("resource-exhausted", `more than ${MAX_STREAMS_PER_WORKLOAD} agents of one workload`));
    this.#options.logger.log("debug", "an agent follows the trust bundle", { workload: agent.workload, address: follower.address });
    return follower;
  }

  #take(follower: FollowerStream, report: TrustReport): void {
    this.#limit.take(follower.workload);
    follower.take(report, this.#options.clock.now());
    if (report.refusal !== "")
      this.#options.logger.log("warn", "an agent refused the trust bundle", { workload: follower.workload, reason: follower.refusal });
    this.#offer(follower);
    this.#tell();
  }

  #offer(follower: FollowerStream): void {
    const spread = Math.max(LEAST_SPREAD_MS, (this.#streams / RENEWALS_PER_SECOND) * 1000);
    const { current, isRevoked } = this.#options;
    follower.offer(current(), Math.ceil(spread), isRevoked(follower.serial));
  }

  #tick(): void {
    const now = this.#options.clock.now();
    for (const follower of this.#all()) {
      if (now >= follower.expiresAt) {
        this.#end(follower, new AppError("unauthenticated", "the certificate that opened the stream has expired"));
        continue;
      }
      follower.forgive(now);
      this.#offer(follower);
    }
  }

  #end(follower: FollowerStream, reason: AppError | undefined): void {
    const others = this.#followers.get(follower.workload);
    if (others?.delete(follower) !== true) return;
    if (others.size === 0) this.#followers.delete(follower.workload);
    this.#streams -= 1;
    follower.end(reason);
    this.#options.logger.log("debug", "an agent's trust stream ended", { workload: follower.workload, reason: reason?.message });
    this.#tell();
  }

  #all(): readonly FollowerStream[] {
    return [...this.#followers.values()].flatMap((streams) => [...streams]);
  }

  #tell(): void {
    for (const look of [...this.#watchers]) look();
  }
}
