/** This machine as a member of its WorkloadGroup: a stream that says so while it is open. */
import type { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { probeByProgram } from "./exec-probe.ts";
import { HealthChecks } from "./health-checks.ts";
import { KeptStream, type StreamPlace } from "./kept-stream.ts";
import { type ProbeResult, probeApplication } from "./probe-application.ts";
import { type MemberProbe, type MemberReport, REGISTER, type ReceivedRegistration, type ReportedHealth } from "./registration-messages.ts";

/** What this machine is to be. */
export interface Membership {
  /** `NAMESPACE/NAME` of the WorkloadGroup. */
  readonly group: string;
  /** Connections to the application's own address are redirected, but for those from an address of ours. */
  readonly captured: boolean;
  /** Whether a probe may run a program here, which whoever writes the group chooses. */
  readonly execProbes: boolean;
}

export interface RegistrationOptions extends Membership, StreamPlace {
  readonly address: string;
  readonly logger: Logger;
}

export interface RegistrationStatus {
  readonly group: string;
  readonly registered: boolean;
  readonly health: "unknown" | "healthy" | "unhealthy";
  readonly detail?: string;
  /** Why it is not registered. */
  readonly lastError?: string;
}

/** Well within the time that the control plane waits for an agent to come back. */
const LONGEST_RETRY_MS = 8_000;
const LEAVE_MS = 3_000;
/** A peer that is gone without a word is noticed. */
const KEEPALIVE = { "grpc.keepalive_time_ms": 10_000, "grpc.keepalive_timeout_ms": 5_000 };
const NOT_ALLOWED = "the group's probe runs a program, which this agent was not allowed: start it with --exec-probes";

export class WorkloadRegistration {
  readonly #options: RegistrationOptions;
  readonly #stream: KeptStream<MemberReport, ReceivedRegistration>;
  readonly #checks: HealthChecks;
  readonly #first = Promise.withResolvers<void>();
  #registered = false;
  #lastError: AppError | undefined;

  constructor(options: RegistrationOptions) {
    this.#options = options;
    const { timers, logger } = options;
    this.#stream = new KeptStream({
      ...options,
      method: REGISTER,
      channel: KEEPALIVE,
      longestRetryMs: LONGEST_RETRY_MS,
      withoutCertificate: "retry",
      onOpen: (stream) => stream.write(this.#reportOf(this.#checks.health)),
      onMessage: (registration) => this.#take(registration),
      onRetry: (error, retryInMs) => this.#lost(error, retryInMs),
    });
    this.#checks = new HealthChecks({
      ask: (probe) => this.#ask(probe),
      timers,
      onChange: (health) => {
        const words = health.healthy ? "the application is healthy" : "the application is not healthy: no calls are sent to it";
        logger.log(health.healthy ? "info" : "warn", words, health.healthy ? {} : { why: health.detail });
        this.#stream.open?.write(this.#reportOf(health));
      },
    });
  }

  get status(): RegistrationStatus {
    const { health } = this.#checks;
    return {
      group: this.#options.group,
      registered: this.#registered,
      health: health === undefined ? "unknown" : health.healthy ? "healthy" : "unhealthy",
      ...(health === undefined || health.healthy ? {} : { detail: health.detail }),
      ...(this.#registered || this.#lastError === undefined ? {} : { lastError: this.#lastError.message }),
    };
  }

  /** Registers with the certificate that there is by now. Resolves when the control plane has taken it for the first time; goes on until then. */
  start(): Promise<void> {
    this.#stream.start();
    return this.#first.promise;
  }

  /** Says good-bye, so that nobody calls this machine any more; waits for the answer, and not for long. */
  async leave(): Promise<void> {
    this.#checks.stop();
    if (await this.#stream.finish({ ...this.#reportOf(undefined), leaving: true }, LEAVE_MS)) return;
    this.#options.logger.log("warn", "the control plane did not hear that this machine leaves: it finds out by itself");
  }

  #reportOf(health: ReportedHealth | undefined): MemberReport {
    const { group, address } = this.#options;
    return { group, address, health, leaving: false };
  }

  #take({ workload, check }: ReceivedRegistration): void {
    const { logger, group, address } = this.#options;
    if (!this.#registered) logger.log("info", "this machine is registered", { workload, group, address });
    this.#registered = true;
    this.#lastError = undefined;
    this.#stream.succeeded();
    this.#checks.use(check);
    this.#first.resolve();
  }

  #lost(error: AppError, retryInMs: number): void {
    this.#registered = false;
    this.#lastError = error;
    const { message, code, help } = error;
    this.#options.logger.log("warn", "this machine is not registered", { error: message, code, help, retryInMs });
  }

  #ask(asked: MemberProbe): Promise<ProbeResult> {
    if (asked.kind === "network") {
      const host = asked.host === "" ? this.#options.address : asked.host;
      return probeApplication(host, asked.probe, this.#sourceFor(asked.host));
    }
    if (!this.#options.execProbes) return Promise.resolve({ status: 503, detail: NOT_ALLOWED });
    return probeByProgram(asked.command, asked.timeoutSeconds);
  }

  /** Connections to the own address are the proxy's, but from the address that `garrison capture` lets through; loopback is never redirected. */
  #sourceFor(host: string): "uncaptured" | "any" {
    return host === "" && this.#options.captured ? "uncaptured" : "any";
  }
}
