/** Follows the names of the mesh: one stream, opened again whenever it ends. What was received stays in force meanwhile. */
import type { Client, ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { Backoff } from "../../core/backoff.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { fromGrpcError } from "../../rpc/status.ts";
import { type ControlPlane, connectControlPlane } from "../control-plane-call.ts";
import type { IssuedCertificate } from "../issued-certificate.ts";
import type { Timers } from "../timers.ts";
import { NameTable } from "./name-table.ts";
import { FOLLOW_NAMES, type NamesReport, type NamesUpdate } from "./names-messages.ts";

export interface NamesClientOptions {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  readonly controlPlane: ControlPlane;
  readonly rootCertificateFile: string;
  /** The certificate, while there is one that is valid. */
  readonly certificate: () => IssuedCertificate | undefined;
  readonly timers: Timers;
  /** In [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
}

type Call = ClientDuplexStream<NamesReport, NamesUpdate>;

/** One connection with its stream. */
interface Attempt {
  readonly client: Client;
  readonly call: Call;
}

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 30_000;
const OPTIONS = {
  // A peer that is gone without a word is noticed.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // Some hundred thousand names.
  "grpc.max_receive_message_length": 16 << 20,
};

export class NamesClient {
  readonly #options: NamesClientOptions;
  readonly #backoff: Backoff;
  readonly #had = Promise.withResolvers<void>();
  #table: NameTable | undefined;
  #attempt: Attempt | undefined;
  #opening = false;
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  constructor(options: NamesClientOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: LONGEST_RETRY_MS, random: options.random });
  }

  /** The newest that was received; undefined before the first. */
  get table(): NameTable | undefined {
    return this.#table;
  }

  /** The control plane is connected, and pushes what changes. */
  get connected(): boolean {
    return this.#attempt !== undefined;
  }

  /** Resolves when there is a table. */
  get had(): Promise<void> {
    return this.#had.promise;
  }

  /** Connects, where it is neither connected nor about to be. */
  start(): void {
    if (this.#attempt === undefined && this.#cancelRetry === undefined) void this.#connect();
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
      const { client, explain } = await connectControlPlane({ controlPlane, rootCertificateFile, certificate }, OPTIONS);
      if (this.#closed) client.close();
      else this.#open(client, explain);
    } catch (thrown) {
      this.#retry(AppError.from(thrown));
    } finally {
      this.#opening = false;
    }
  }

  #open(client: Client, explain: (thrown: unknown) => AppError): void {
    const { path, requestSerialize, responseDeserialize } = FOLLOW_NAMES;
    const call: Call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    const attempt: Attempt = { client, call };
    this.#attempt = attempt;
    let failure: AppError | undefined;
    call.on("data", (update: NamesUpdate) => this.#receive(attempt, update));
    call.on("error", (error: ServiceError) => {
      failure = explain(fromGrpcError(error));
    });
    call.on("status", () => this.#lost(attempt, failure));
    this.#report(attempt, "");
  }

  /** What cannot be applied ends the stream: the next one begins with the whole table. */
  #receive(attempt: Attempt, { nonce, change }: NamesUpdate): void {
    if (this.#attempt !== attempt) return;
    try {
      this.#table = NameTable.of(change, this.#table);
    } catch (thrown) {
      this.#options.logger.log("error", "the names of the mesh cannot be taken", { reason: AppError.from(thrown).message });
      this.#table = undefined;
      attempt.call.cancel();
      return;
    }
    this.#backoff.reset();
    this.#had.resolve();
    this.#options.logger.log("debug", "the names of the mesh are taken", { names: this.#table.size });
    this.#report(attempt, nonce);
  }

  #report({ call }: Attempt, nonce: string): void {
    call.write({ workload: this.#options.workload, version: this.#table?.version ?? "", nonce });
  }

  #lost(attempt: Attempt, failure: AppError | undefined): void {
    attempt.client.close();
    this.#attempt = undefined;
    if (!this.#closed) this.#retry(failure ?? new AppError("unavailable", "the stream ended"));
  }

  #retry({ message }: AppError): void {
    if (this.#closed) return;
    const delayMs = Math.round(this.#backoff.next());
    this.#options.logger.log("info", "the names of the mesh are not followed", { reason: message, retryInMs: delayMs });
    this.#cancelRetry = this.#options.timers.after(delayMs, () => void this.#connect());
  }
}
