/** A stream of reports from one proxy, of either protocol: who it is, how much it may send, and how it ends. */
import type { ServerDuplexStream, ServerReadableStream } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { Delivery } from "./delivery.ts";
import type { ConnectionEnd, EntryMeaning, NewAuditRecord } from "./record.ts";
import { ThrottledLog } from "./throttled-log.ts";

/** What is known of a connection before anything is read from it. */
export interface CallAuth {
  /** The DER of the client's certificate, which has been verified; undefined where the client came without one. */
  readonly peerCertificate: Uint8Array | undefined;
}

/** What a node says of itself: the part of Envoy's `core.v3.Node` that admission reads. */
export interface NodeClaim {
  readonly id: string;
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
}

/** Whose records a stream carries. */
export interface ReportingWorkload {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** Its SPIFFE ID. */
  readonly identity: string;
  /** When its certificate expires, in milliseconds since the epoch; later messages end the stream. */
  readonly expiresAt: number;
}

/** Asked once for each stream. Throws AppError for a caller that is not the workload that its node claims to be. */
export type AdmitReporter = (auth: CallAuth, node: NodeClaim) => ReportingWorkload | Promise<ReportingWorkload>;

/** Where records go: the store. */
export interface RecordSink {
  /** Never throws. */
  append(records: readonly NewAuditRecord[], ends: readonly ConnectionEnd[]): void;
  /** Resolves when it is written; rejects where its reporter has to keep it. */
  deliver(delivery: Delivery): Promise<void>;
}

export interface IntakeOptions {
  readonly store: RecordSink;
  readonly admit: AdmitReporter;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<IntakeLimits>;
}

export interface IntakeLimits {
  /** Streams at one time, of all workloads and of one (an Envoy has one for each worker and log). */
  readonly streams: number;
  readonly streamsPerWorkload: number;
  /** Of a longer message the rest is dropped, and counted. */
  readonly recordsPerMessage: number;
  /** Milliseconds from the start of a stream to its first message. */
  readonly firstMessageMs: number;
}

const DEFAULT_LIMITS: IntakeLimits = { streams: 20_000, streamsPerWorkload: 1024, recordsPerMessage: 10_000, firstMessageMs: 30_000 };

/** What an intake has seen since it was made. */
export interface IntakeStats {
  readonly streams: number;
  readonly records: number;
  /** Entries that were not taken in: malformed, or too many in one message. */
  readonly rejected: number;
}

type ReportCall<M> = ServerDuplexStream<M, unknown> | ServerReadableStream<M, unknown>;

export interface Reported {
  readonly meanings: readonly EntryMeaning[];
  /** Entries that are malformed or too many. */
  readonly rejected: number;
  /** Of a reporter that numbers what it reports. */
  readonly numbered?: Pick<Delivery, "reporter" | "run" | "first" | "count" | "lost">;
}

/** How one protocol reads its messages. */
export interface ReportReader<M> {
  readonly nodeOf: (message: M) => NodeClaim | undefined;
  /** What a message says, of its first `max` entries. */
  readonly read: (message: M, from: ReportingWorkload, max: number) => Reported;
  readonly taken?: (total: number) => void;
}

/** The streams of one intake: admission, bounds and counts. */
export class ReportingStreams {
  readonly #options: IntakeOptions;
  readonly #limits: IntakeLimits;
  readonly #log: ThrottledLog;
  readonly #perWorkload = new Map<string, number>();
  #streams = 0;
  #records = 0;
  #rejected = 0;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#log = new ThrottledLog(options.logger, options.clock);
  }

  stats(): IntakeStats {
    return { streams: this.#streams, records: this.#records, rejected: this.#rejected };
  }

  /**
   * Reads a call to its end. `end` is called at most once: with undefined when the client was done, with the reason when the stream is
   * refused; then it must also destroy the call, so that what the client still sends is not kept.
   */
  async serve<M>(call: ReportCall<M>, reader: ReportReader<M>, end: (error: AppError | undefined) => void): Promise<void> {
    let from: ReportingWorkload | undefined;
    let refused = false;
    const refuse = (error: AppError) => {
      // A client that goes away is no failure.
      if (refused || call.cancelled || call.destroyed) return;
      refused = true;
      this.#log.log("warn", "a stream of audit records is refused", { code: error.code, reason: error.message, peer: call.getPeer() });
      end(error);
    };
    const { streams, firstMessageMs } = this.#limits;
    const late = setTimeout(() => refuse(tooLate(firstMessageMs)), firstMessageMs).unref();
    this.#streams++;
    try {
      if (this.#streams > streams) throw tooMany(`${streams} streams`);
      let total = 0;
      for await (const message of call.iterator({ destroyOnReturn: false }) as AsyncIterable<M>) {
        clearTimeout(late);
        if (refused) return;
        from ??= await this.#admit(call, reader.nodeOf(message));
        if (this.#options.clock.now() >= from.expiresAt)
          throw new AppError("unauthenticated", "the certificate of this stream has expired");
        total += await this.#take(reader, message, from);
        reader.taken?.(total);
      }
      if (!refused) end(undefined);
    } catch (thrown) {
      refuse(AppError.from(thrown));
    } finally {
      clearTimeout(late);
      this.#streams--;
      if (from !== undefined) this.#leave(from.workload);
    }
  }

  /** How much of it counts as taken in. */
  async #take<M>(reader: ReportReader<M>, message: M, { workload, ...from }: ReportingWorkload): Promise<number> {
    const { store } = this.#options;
    const { meanings, rejected, numbered } = reader.read(message, { workload, ...from }, this.#limits.recordsPerMessage);
    const records = meanings.flatMap((meaning) => (meaning.kind === "record" ? meaning.record : []));
    if (numbered !== undefined) await store.deliver({ workload, meanings, ...numbered });
    else
      store.append(
        records,
        meanings.flatMap((meaning) => (meaning.kind === "end" ? meaning.end : [])),
      );
    this.#records += records.length;
    this.#rejected += rejected;
    if (rejected > 0) this.#log.log("warn", "audit entries were malformed or too many, and are dropped", { workload, rejected });
    if (numbered !== undefined && numbered.lost > 0)
      this.#log.log("warn", "audit records are lost: their reporter could not keep them", { workload, lost: numbered.lost });
    return numbered?.count ?? records.length;
  }

  async #admit<M>(call: ReportCall<M>, node: NodeClaim | undefined): Promise<ReportingWorkload> {
    if (node === undefined) throw new AppError("invalid-argument", "the first message of a stream must say from which node it comes");
    const from = await this.#options.admit({ peerCertificate: call.getAuthContext().sslPeerCertificate?.raw }, node);
    const streams = this.#perWorkload.get(from.workload) ?? 0;
    if (streams >= this.#limits.streamsPerWorkload) throw tooMany(`${streams} streams of \`${from.workload}\``);
    this.#perWorkload.set(from.workload, streams + 1);
    return from;
  }

  #leave(workload: string): void {
    const left = (this.#perWorkload.get(workload) ?? 1) - 1;
    if (left > 0) this.#perWorkload.set(workload, left);
    else this.#perWorkload.delete(workload);
  }
}

function tooMany(what: string): AppError {
  return new AppError("resource-exhausted", `there are ${what} already`);
}

function tooLate(milliseconds: number): AppError {
  return new AppError("deadline-exceeded", `the stream's first message did not come within ${milliseconds / 1000} s`);
}
