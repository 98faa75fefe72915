/** This machine as a member of its WorkloadGroup: one stream that says so while it is open, opened again whenever it ends. */
import type { Client, ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { Backoff } from "../core/backoff.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { fromGrpcError } from "../rpc/status.ts";
import { type ControlPlane, connectControlPlane } from "./control-plane-call.ts";
import { probeByProgram } from "./exec-probe.ts";
import { HealthChecks } from "./health-checks.ts";
import type { IssuedCertificate } from "./issued-certificate.ts";
import { type ProbeResult, probeApplication } from "./probe-application.ts";
import { type MemberProbe, type MemberReport, REGISTER, type ReceivedRegistration, type ReportedHealth } from "./registration-messages.ts";
import type { Timers } from "./timers.ts";

/** What this machine is to be. */
export interface Membership {
  /** `NAMESPACE/NAME` of the WorkloadGroup. */
  readonly group: string;
  /** Connections to the application's own address are redirected, but for those from an address of ours. */
  readonly captured: boolean;
  /** Whether a probe may run a program here, which whoever writes the group chooses. */
  readonly execProbes: boolean;
}

export interface RegistrationOptions extends Membership {
  readonly address: string;
  readonly controlPlane: ControlPlane;
  readonly rootCertificateFile: string;
  /** The certificate, while there is one that is valid. */
  readonly certificate: () => IssuedCertificate | undefined;
  readonly timers: Timers;
  /** In [0, 1). */
  readonly random: () => number;
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

type Call = ClientDuplexStream<MemberReport, ReceivedRegistration>;

interface Attempt {
  readonly client: Client;
  readonly call: Call;
}

const FIRST_RETRY_MS = 500;
/** Well within the time that the control plane waits for an agent to come back. */
const LONGEST_RETRY_MS = 8_000;
const LEAVE_MS = 3_000;
/** A peer that is gone without a word is noticed. */
const KEEPALIVE = { "grpc.keepalive_time_ms": 10_000, "grpc.keepalive_timeout_ms": 5_000 };
const NOT_ALLOWED = "the group's probe runs a program, which this agent was not allowed: start it with --exec-probes";

export class WorkloadRegistration {
  readonly #options: RegistrationOptions;
  readonly #backoff: Backoff;
  readonly #checks: HealthChecks;
  readonly #first = Promise.withResolvers<void>();
  #attempt: Attempt | undefined;
  #registered = false;
  #lastError: AppError | undefined;
  #cancelRetry = () => {};
  #closed = false;

  constructor(options: RegistrationOptions) {
    this.#options = options;
    const { timers, random, logger } = options;
    this.#backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: LONGEST_RETRY_MS, random });
    this.#checks = new HealthChecks({
      ask: (probe) => this.#ask(probe),
      timers,
      onChange: (health) => {
        const words = health.healthy ? "the application is healthy" : "the application is not healthy: no calls are sent to it";
        logger.log(health.healthy ? "info" : "warn", words, health.healthy ? {} : { why: health.detail });
        if (this.#attempt !== undefined) this.#write(this.#attempt.call, health);
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
    void this.#connect();
    return this.#first.promise;
  }

  /** Says good-bye, so that nobody calls this machine any more; waits for the answer, and not for long. */
  async leave(): Promise<void> {
    this.#closed = true;
    this.#cancelRetry();
    this.#checks.stop();
    const attempt = this.#attempt;
    if (attempt === undefined) return;
    const { group, address, timers, logger } = this.#options;
    const done = Promise.withResolvers<boolean>();
    attempt.call.once("status", () => done.resolve(true));
    attempt.call.write({ group, address, health: undefined, leaving: true });
    attempt.call.end();
    const cancel = timers.after(LEAVE_MS, () => done.resolve(false));
    const answered = await done.promise;
    cancel();
    if (!answered) logger.log("warn", "the control plane did not hear that this machine leaves: it finds out by itself");
    attempt.call.cancel();
    attempt.client.close();
  }

  async #connect(): Promise<void> {
    const { controlPlane, rootCertificateFile } = this.#options;
    const certificate = this.#options.certificate();
    if (this.#closed || this.#attempt !== undefined) return;
    try {
      if (certificate === undefined) throw new AppError("unavailable", "the machine has no valid certificate now");
      const { client, explain } = await connectControlPlane({ controlPlane, rootCertificateFile, certificate }, KEEPALIVE);
      if (this.#closed) client.close();
      else this.#open(client, explain);
    } catch (thrown) {
      this.#retry(AppError.from(thrown));
    }
  }

  #open(client: Client, explain: (thrown: unknown) => AppError): void {
    const call: Call = client.makeBidiStreamRequest(REGISTER.path, REGISTER.requestSerialize, REGISTER.responseDeserialize);
    this.#attempt = { client, call };
    let failure: AppError | undefined;
    call.on("data", (registration: ReceivedRegistration) => this.#take(registration));
    call.on("error", (error: ServiceError) => {
      failure = explain(fromGrpcError(error));
    });
    call.on("status", () => {
      client.close();
      this.#attempt = undefined;
      if (!this.#closed) this.#retry(failure ?? new AppError("unavailable", "the stream ended"));
    });
    this.#write(call, this.#checks.health);
  }

  #write(call: Call, health: ReportedHealth | undefined): void {
    const { group, address } = this.#options;
    if (!this.#closed) call.write({ group, address, health, leaving: false });
  }

  #take({ workload, check }: ReceivedRegistration): void {
    const { logger, group, address } = this.#options;
    if (!this.#registered) logger.log("info", "this machine is registered", { workload, group, address });
    this.#registered = true;
    this.#lastError = undefined;
    this.#backoff.reset();
    this.#checks.use(check);
    this.#first.resolve();
  }

  #retry(error: AppError): void {
    this.#registered = false;
    this.#lastError = error;
    const delayMs = Math.round(this.#backoff.next());
    const { message, code, help } = error;
    this.#options.logger.log("warn", "this machine is not registered", { error: message, code, help, retryInMs: delayMs });
    this.#cancelRetry = this.#options.timers.after(delayMs, () => void this.#connect());
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
