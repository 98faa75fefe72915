/** A stream to the control plane, by the workload's certificate, that is opened again whenever it ends. */
import type { ClientDuplexStream, ClientOptions, ServiceError } from "@grpc/grpc-js";
import { Backoff } from "../core/backoff.ts";
import { AppError } from "../core/error.ts";
import { fromGrpcError } from "../rpc/status.ts";
import { type ClientMethod, type ControlPlane, type ControlPlaneClient, connectControlPlane } from "./control-plane-call.ts";
import type { IssuedCertificate } from "./issued-certificate.ts";
import type { Timers } from "./timers.ts";

/** Whom a stream goes to, and as whom. */
export interface StreamPlace {
  readonly controlPlane: ControlPlane;
  readonly rootCertificateFile: string;
  /** The certificate, while there is one that is valid. */
  readonly certificate: () => IssuedCertificate | undefined;
  readonly timers: Timers;
  /** In [0, 1). */
  readonly random: () => number;
}

/** One stream, from its opening to its end. */
export interface OpenStream<Out> {
  readonly isOpen: boolean;
  /** Nothing where it has ended. */
  write(message: Out): void;
}

export interface KeptStreamOptions<Out, In> extends StreamPlace {
  readonly method: ClientMethod<Out, In>;
  readonly channel: ClientOptions;
  readonly longestRetryMs: number;
  /** What to do without a certificate: wait for the next `start`, or try again as after a failure. */
  readonly withoutCertificate: "wait" | "retry";
  /** The first word is to be said. */
  readonly onOpen: (stream: OpenStream<Out>) => void;
  readonly onMessage: (message: In, stream: OpenStream<Out>) => void;
  /** A stream that was open has ended. */
  readonly onEnd?: (error: AppError) => void;
  /** It ended or could not be opened, and is tried again after so long. */
  readonly onRetry: (error: AppError, retryInMs: number) => void;
  /** The wait after a failure that is not to be tried again soon; undefined for the usual one. */
  readonly waitAfter?: (error: AppError) => number | undefined;
}

const FIRST_RETRY_MS = 500;

class Attempt<Out, In> implements OpenStream<Out> {
  readonly close: () => void;
  readonly call: ClientDuplexStream<Out, In>;
  isOpen = true;

  constructor({ client, close }: ControlPlaneClient, { path, requestSerialize, responseDeserialize }: ClientMethod<Out, In>) {
    this.close = close;
    this.call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  }

  write(message: Out): void {
    if (this.isOpen) this.call.write(message);
  }
}

export class KeptStream<Out, In> {
  readonly #options: KeptStreamOptions<Out, In>;
  readonly #backoff: Backoff;
  #attempt: Attempt<Out, In> | undefined;
  #opening = false;
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  constructor(options: KeptStreamOptions<Out, In>) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: options.longestRetryMs, random: options.random });
  }

  /** The one that is open; undefined while there is none. */
  get open(): OpenStream<Out> | undefined {
    return this.#attempt;
  }

  /** Connects, where it is neither connected nor about to be. */
  start(): void {
    if (this.#attempt === undefined && this.#cancelRetry === undefined) void this.#connect();
  }

  /** What came is good: after its end the stream is opened again soon. */
  succeeded(): void {
    this.#backoff.reset();
  }

  /** Ends the stream that is open, for another one. */
  reopen(): void {
    this.#attempt?.call.cancel();
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    if (this.#attempt === undefined) return;
    this.#attempt.isOpen = false;
    this.#attempt.call.cancel();
    this.#attempt.close();
  }

  /** Closes it with a last word; whether the control plane ended the stream within the time. True where there is none. */
  async finish(last: Out, withinMs: number): Promise<boolean> {
    const attempt = this.#attempt;
    let heard = true;
    if (attempt !== undefined && !this.#closed) {
      const done = Promise.withResolvers<boolean>();
      attempt.call.once("status", () => done.resolve(true));
      attempt.write(last);
      attempt.call.end();
      this.#closed = true;
      const cancel = this.#options.timers.after(withinMs, () => done.resolve(false));
      heard = await done.promise;
      cancel();
    }
    this.close();
    return heard;
  }

  async #connect(): Promise<void> {
    this.#cancelRetry = undefined;
    if (this.#opening || this.#closed) return;
    const { controlPlane, rootCertificateFile, channel, withoutCertificate } = this.#options;
    const certificate = this.#options.certificate();
    if (certificate === undefined) {
      if (withoutCertificate === "retry") this.#retry(new AppError("unavailable", "there is no valid certificate now"));
      return;
    }
    this.#opening = true;
    try {
      const connected = await connectControlPlane({ controlPlane, rootCertificateFile, certificate }, channel);
      if (this.#closed) connected.close();
      else this.#open(connected);
    } catch (thrown) {
      this.#retry(AppError.from(thrown));
    } finally {
      this.#opening = false;
    }
  }

  #open(connected: ControlPlaneClient): void {
    const attempt = new Attempt(connected, this.#options.method);
    this.#attempt = attempt;
    let failure: AppError | undefined;
    attempt.call.on("data", (message: In) => {
      if (attempt.isOpen) this.#options.onMessage(message, attempt);
    });
    attempt.call.on("error", (error: ServiceError) => {
      failure = connected.explain(fromGrpcError(error));
    });
    attempt.call.on("status", () => this.#ended(attempt, failure ?? new AppError("unavailable", "the stream ended")));
    this.#options.onOpen(attempt);
  }

  #ended(attempt: Attempt<Out, In>, error: AppError): void {
    attempt.isOpen = false;
    attempt.close();
    this.#attempt = undefined;
    if (this.#closed) return;
    this.#options.onEnd?.(error);
    this.#retry(error);
  }

  #retry(error: AppError): void {
    if (this.#closed) return;
    const delayMs = Math.round(this.#options.waitAfter?.(error) ?? this.#backoff.next());
    this.#options.onRetry(error, delayMs);
    this.#cancelRetry = this.#options.timers.after(delayMs, () => void this.#connect());
  }
}
