/** Follows what the control plane says is to be trusted. */
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { KeptStream, type OpenStream, type StreamPlace } from "./kept-stream.ts";
import { FOLLOW, type TrustReport, type TrustUpdate } from "./trust-messages.ts";

export interface TrustClientOptions extends StreamPlace {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** Puts an update in force. What it rejects with is told to the control plane. */
  readonly take: (update: TrustUpdate) => Promise<void>;
  /** The certificate that the proxy uses, as far as is known. */
  readonly inUse: () => Pick<TrustReport, "serial" | "authority">;
  /** The stream is gone. */
  readonly onLost: () => void;
  /** The control plane does not take the certificate: it was revoked while nobody could tell so. */
  readonly onRefused: () => void;
  readonly logger: Logger;
}

const LONGEST_RETRY_MS = 30_000;
/** A control plane of an older version has no bundles to push. */
const UNSUPPORTED_RETRY_MS = 300_000;
const MAX_REFUSAL = 400;
/** A peer that is gone without a word is noticed. */
const KEEPALIVE = { "grpc.keepalive_time_ms": 30_000, "grpc.keepalive_timeout_ms": 10_000 };

export class TrustClient {
  readonly #options: TrustClientOptions;
  readonly #stream: KeptStream<TrustReport, TrustUpdate>;
  /** Of the update in force that came by the stream that is open; empty before the first. */
  #nonce = "";
  #turn: Promise<void> = Promise.resolve();

  constructor(options: TrustClientOptions) {
    this.#options = options;
    this.#stream = new KeptStream({
      ...options,
      method: FOLLOW,
      channel: KEEPALIVE,
      longestRetryMs: LONGEST_RETRY_MS,
      withoutCertificate: "wait",
      onOpen: (stream) => this.#write(stream, "", ""),
      onMessage: (update, stream) => {
        this.#turn = this.#turn.then(() => this.#receive(stream, update));
      },
      onEnd: (error) => this.#lost(error),
      onRetry: ({ code, message }, retryInMs) => {
        const words = code === "unsupported" ? "the control plane pushes no trust bundle" : "the trust bundle is not followed";
        options.logger.log("info", words, { reason: message, retryInMs });
      },
      waitAfter: ({ code }) => (code === "unsupported" ? UNSUPPORTED_RETRY_MS : undefined),
    });
  }

  /** Whether what the control plane pushed last is in force here. */
  get current(): boolean {
    return this.#nonce !== "";
  }

  /** Connects, where it is neither connected nor about to be. */
  start(): void {
    this.#stream.start();
  }

  /** Says again what is in use. */
  report(): void {
    const { open } = this.#stream;
    if (open !== undefined) this.#write(open, this.#nonce, "");
  }

  close(): void {
    this.#stream.close();
  }

  /** One update at a time, in the order in which they came. */
  async #receive(stream: OpenStream<TrustReport>, update: TrustUpdate): Promise<void> {
    if (!stream.isOpen) return;
    let refusal = "";
    try {
      await this.#options.take(update);
      if (stream.isOpen) this.#nonce = update.nonce;
      this.#stream.succeeded();
    } catch (thrown) {
      const { message } = AppError.from(thrown);
      refusal = message.slice(0, MAX_REFUSAL);
      this.#options.logger.log("error", "the trust bundle is not in force", { reason: message });
    }
    this.#write(stream, update.nonce, refusal);
  }

  #write(stream: OpenStream<TrustReport>, nonce: string, refusal: string): void {
    stream.write({ workload: this.#options.workload, nonce, refusal, ...this.#options.inUse() });
  }

  #lost({ code }: AppError): void {
    const hadNone = this.#nonce === "";
    this.#nonce = "";
    this.#options.onLost();
    if (code === "unauthenticated" && hadNone) this.#options.onRefused();
  }
}
