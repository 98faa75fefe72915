/** Follows the names of the mesh. What was received stays in force while there is no stream. */
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { KeptStream, type OpenStream, type StreamPlace } from "../kept-stream.ts";
import { NameTable } from "./name-table.ts";
import { FOLLOW_NAMES, type NamesReport, type NamesUpdate } from "./names-messages.ts";

export interface NamesClientOptions extends StreamPlace {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  readonly logger: Logger;
}

const LONGEST_RETRY_MS = 30_000;
const CHANNEL = {
  // A peer that is gone without a word is noticed.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // Some hundred thousand names.
  "grpc.max_receive_message_length": 16 << 20,
};

export class NamesClient {
  readonly #options: NamesClientOptions;
  readonly #stream: KeptStream<NamesReport, NamesUpdate>;
  readonly #had = Promise.withResolvers<void>();
  #table: NameTable | undefined;

  constructor(options: NamesClientOptions) {
    this.#options = options;
    this.#stream = new KeptStream({
      ...options,
      method: FOLLOW_NAMES,
      channel: CHANNEL,
      longestRetryMs: LONGEST_RETRY_MS,
      withoutCertificate: "wait",
      onOpen: (stream) => this.#report(stream, ""),
      onMessage: (update, stream) => this.#receive(stream, update),
      onRetry: ({ message }, retryInMs) =>
        options.logger.log("info", "the names of the mesh are not followed", { reason: message, retryInMs }),
    });
  }

  /** The newest that was received; undefined before the first. */
  get table(): NameTable | undefined {
    return this.#table;
  }

  /** The control plane is connected, and pushes what changes. */
  get connected(): boolean {
    return this.#stream.open !== undefined;
  }

  /** Resolves when there is a table. */
  get had(): Promise<void> {
    return this.#had.promise;
  }

  /** Connects, where it is neither connected nor about to be. */
  start(): void {
    this.#stream.start();
  }

  close(): void {
    this.#stream.close();
  }

  /** What cannot be applied ends the stream: the next one begins with the whole table. */
  #receive(stream: OpenStream<NamesReport>, { nonce, change }: NamesUpdate): void {
    try {
      this.#table = NameTable.of(change, this.#table);
    } catch (thrown) {
      this.#options.logger.log("error", "the names of the mesh cannot be taken", { reason: AppError.from(thrown).message });
      this.#table = undefined;
      this.#stream.reopen();
      return;
    }
    this.#stream.succeeded();
    this.#had.resolve();
    this.#options.logger.log("debug", "the names of the mesh are taken", { names: this.#table.size });
    this.#report(stream, nonce);
  }

  #report(stream: OpenStream<NamesReport>, nonce: string): void {
    stream.write({ workload: this.#options.workload, version: this.#table?.version ?? "", nonce });
  }
}
