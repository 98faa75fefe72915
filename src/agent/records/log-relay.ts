/** Passes on what Envoy records, and keeps it until the control plane has written it down. */
import { randomUUID } from "node:crypto";
import type { Logger } from "../../core/logger.ts";
import type { ProxyNode } from "../agent-options.ts";
import { KeptStream, type StreamPlace } from "../kept-stream.ts";
import { type BufferBounds, LogBuffer } from "./log-buffer.ts";
import { type LogBlock, REPORT, type Report } from "./messages.ts";

export interface LogRelayOptions extends StreamPlace, Partial<BufferBounds> {
  readonly node: ProxyNode;
  readonly logger: Logger;
}

/** As the embedded proxy keeps; an entry has some 1,000 bytes. */
const CAPACITY = 10_000;
const MAX_BYTES = 16 * 1024 * 1024;
/** On its way at one time: the control plane writes down one message in a turn. */
const WINDOW_BYTES = 256 * 1024;
const LONGEST_RETRY_MS = 5_000;
const LAST_MS = 3_000;
/** A peer that is gone without a word is noticed. */
const KEEPALIVE = { "grpc.keepalive_time_ms": 20_000, "grpc.keepalive_timeout_ms": 10_000 };

export interface RecordsStatus {
  /** Records that the control plane has not acknowledged. */
  readonly waiting: number;
  /** All that were dropped since the agent's start. */
  readonly lost: number;
}

export class LogRelay {
  readonly #options: LogRelayOptions;
  readonly #buffer: LogBuffer;
  readonly #stream: KeptStream<Report, number>;
  /** The numbers of another life of this agent are others. */
  readonly #run = randomUUID();
  readonly #emptied = new Set<() => void>();
  #accepted = 0;
  #seenLost = 0;
  #dropping = false;

  constructor(options: LogRelayOptions) {
    this.#options = options;
    const { capacity = CAPACITY, maxBytes = MAX_BYTES, node, logger } = options;
    this.#buffer = new LogBuffer({ capacity, maxBytes });
    this.#stream = new KeptStream({
      ...options,
      method: REPORT,
      channel: KEEPALIVE,
      longestRetryMs: LONGEST_RETRY_MS,
      withoutCertificate: "retry",
      onOpen: (stream) => {
        this.#accepted = 0;
        stream.write({ kind: "hello", node, run: this.#run });
        this.#send();
      },
      onMessage: (accepted) => this.#acknowledged(accepted),
      onEnd: () => {
        this.#buffer.rewind();
        this.#look();
      },
      onRetry: ({ message }, retryInMs) =>
        logger.log("info", "Envoy's records wait for the control plane", { reason: message, waiting: this.#buffer.waiting, retryInMs }),
    });
  }

  get status(): RecordsStatus {
    const { waiting, lost } = this.#buffer;
    return { waiting, lost };
  }

  /** Never waits: whoever has the control plane away does not hold up Envoy. */
  take(block: LogBlock): void {
    this.#buffer.add(block);
    this.#look();
    if (this.#stream.open === undefined) this.#stream.start();
    else this.#send();
  }

  /** Waits until all is taken in, and not for long; then ends. */
  async finish(withinMs = LAST_MS): Promise<void> {
    if (this.#buffer.waiting > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#emptied.add(resolve);
      const cancel = this.#options.timers.after(withinMs, resolve);
      await promise;
      cancel();
    }
    this.close();
    const { waiting } = this.#buffer;
    if (waiting > 0)
      this.#options.logger.log("error", "Envoy's records are lost: the agent ends, and the control plane does not take them", {
        lost: waiting,
      });
  }

  close(): void {
    this.#stream.close();
  }

  #send(): void {
    const { open } = this.#stream;
    while (open !== undefined && this.#buffer.sentBytes < WINDOW_BYTES) {
      const batch = this.#buffer.take();
      if (batch === undefined) return;
      open.write({ kind: "records", ...batch });
    }
  }

  #acknowledged(accepted: number): void {
    const told = this.#buffer.acknowledge(accepted - this.#accepted);
    this.#accepted = accepted;
    this.#stream.succeeded();
    if (told > 0) {
      this.#dropping = false;
      this.#options.logger.log("error", "Envoy's records were lost while the control plane was away, and it has been told", { lost: told });
    }
    if (this.#buffer.waiting > 0) this.#send();
    else for (const wake of this.#emptied) wake();
  }

  /** Says once, until it could be told, that records go. */
  #look(): void {
    const { lost } = this.#buffer;
    const begins = lost > this.#seenLost && !this.#dropping;
    this.#seenLost = lost;
    if (!begins) return;
    this.#dropping = true;
    this.#options.logger.log("error", "Envoy's oldest records are dropped: the control plane does not take them", {
      kept: this.#buffer.waiting,
    });
  }
}
