/** Follows what the control plane says is to be trusted: one stream, opened again whenever it ends. */
import type { Client, ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { Backoff } from "../core/backoff.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { fromGrpcError } from "../rpc/status.ts";
import { type ControlPlane, connectControlPlane } from "./control-plane-call.ts";
import type { IssuedCertificate } from "./issued-certificate.ts";
import type { Timers } from "./timers.ts";
import { FOLLOW, type TrustReport, type TrustUpdate } from "./trust-messages.ts";

export interface TrustClientOptions {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  readonly controlPlane: ControlPlane;
  readonly rootCertificateFile: string;
  /** The certificate, while there is one that is valid. */
  readonly certificate: () => IssuedCertificate | undefined;
  /** Puts an update in force. What it rejects with is told to the control plane. */
  readonly take: (update: TrustUpdate) => Promise<void>;
  /** The certificate that the proxy uses, as far as is known. */
  readonly inUse: () => Pick<TrustReport, "serial" | "authority">;
  /** The stream is gone. */
  readonly onLost: () => void;
  /** The control plane does not take the certificate: it was revoked while nobody could tell so. */
  readonly onRefused: () => void;
  readonly timers: Timers;
  /** In [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
}

type Call = ClientDuplexStream<TrustReport, TrustUpdate>;

/** One connection with its stream; `nonce` is of the update in force. */
interface Attempt {
  readonly client: Client;
  readonly call: Call;
  nonce: string;
  ended: boolean;
}

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 30_000;
/** A control plane of an older version has no bundles to push. */
const UNSUPPORTED_RETRY_MS = 300_000;
const MAX_REFUSAL = 400;
/** A peer that is gone without a word is noticed. */
const KEEPALIVE = { "grpc.keepalive_time_ms": 30_000, "grpc.keepalive_timeout_ms": 10_000 };

export class TrustClient {
  readonly #options: TrustClientOptions;
  readonly #backoff: Backoff;
  #attempt: Attempt | undefined;
  #opening = false;
  #turn: Promise<void> = Promise.resolve();
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  constructor(options: TrustClientOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: LONGEST_RETRY_MS, random: options.random });
  }

  /** Whether what the control plane pushed last is in force here. */
  get current(): boolean {
    return this.#attempt !== undefined && !this.#attempt.ended && this.#attempt.nonce !== "";
  }

  /** Connects, where it is neither connected nor about to be. */
  start(): void {
    if (this.#attempt === undefined && this.#cancelRetry === undefined) void this.#connect();
  }

  /** Says again what is in use. */
  report(): void {
    if (this.#attempt !== undefined) this.#write(this.#attempt, this.#attempt.nonce, "");
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    this.#attempt?.call.cancel();
    this.#attempt?.client.close();
  }

  async #connect(): Promise<void> {
    this.#cancelRetry = undefined;
    const { controlPlane, rootCertificateFile } = this.#options;
    const certificate = this.#options.certificate();
    if (certificate === undefined || this.#opening) return;
    this.#opening = true;
    try {
      const { client, explain } = await connectControlPlane({ controlPlane, rootCertificateFile, certificate }, KEEPALIVE);
      if (this.#closed) client.close();
      else this.#open(client, explain);
    } catch (thrown) {
      this.#retry(AppError.from(thrown));
    } finally {
      this.#opening = false;
    }
  }

  #open(client: Client, explain: (thrown: unknown) => AppError): void {
    const call: Call = client.makeBidiStreamRequest(FOLLOW.path, FOLLOW.requestSerialize, FOLLOW.responseDeserialize);
    const attempt: Attempt = { client, call, nonce: "", ended: false };
    this.#attempt = attempt;
    let failure: AppError | undefined;
    call.on("data", (update: TrustUpdate) => {
      this.#turn = this.#turn.then(() => this.#receive(attempt, update));
    });
    call.on("error", (error: ServiceError) => {
      failure = explain(fromGrpcError(error));
    });
    call.on("status", () => this.#lost(attempt, failure));
    this.#write(attempt, "", "");
  }

  /** One update at a time, in the order in which they came. */
  async #receive(attempt: Attempt, update: TrustUpdate): Promise<void> {
    if (this.#closed || attempt.ended) return;
    let refusal = "";
    try {
      await this.#options.take(update);
      attempt.nonce = update.nonce;
      this.#backoff.reset();
    } catch (thrown) {
      const { message } = AppError.from(thrown);
      refusal = message.slice(0, MAX_REFUSAL);
      this.#options.logger.log("error", "the trust bundle is not in force", { reason: message });
    }
    this.#write(attempt, update.nonce, refusal);
  }

  #write(attempt: Attempt, nonce: string, refusal: string): void {
    if (attempt.ended || this.#closed) return;
    attempt.call.write({ workload: this.#options.workload, nonce, refusal, ...this.#options.inUse() });
  }

  #lost(attempt: Attempt, failure: AppError | undefined): void {
    attempt.ended = true;
    attempt.client.close();
    this.#attempt = undefined;
    if (this.#closed) return;
    this.#options.onLost();
    if (failure?.code === "unauthenticated" && attempt.nonce === "") this.#options.onRefused();
    this.#retry(failure ?? new AppError("unavailable", "the stream ended"));
  }

  #retry({ code, message }: AppError): void {
    if (this.#closed) return;
    const unsupported = code === "unsupported";
    const delayMs = Math.round(unsupported ? UNSUPPORTED_RETRY_MS : this.#backoff.next());
    const words = unsupported ? "the control plane pushes no trust bundle" : "the trust bundle is not followed";
    this.#options.logger.log("info", words, { reason: message, retryInMs: delayMs });
    this.#cancelRetry = this.#options.timers.after(delayMs, () => void this.#connect());
  }
}
