/** Tells the control plane of every decision; while that is away, keeps as many as it may and counts the rest. */
import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { type ChannelCredentials, Client, type ClientDuplexStream, type ServiceError } from "@grpc/grpc-js";
import type { Logger } from "../core/logger.ts";
import { DecisionLog, type ReportRequest, ReportRequestSchema, type ReportResponse } from "../gen/garrison/v1/proxy_pb.js";
import { tlsChannelOptions } from "../rpc/credentials.ts";
import { methodDefinition } from "../rpc/service.ts";
import { fromGrpcError } from "../rpc/status.ts";
import type { ProxyNode } from "./bootstrap.ts";
import type { Recorder, RecordInit } from "./record.ts";
import { Retry } from "./retry.ts";

export interface DecisionReporterOptions {
  /** `host:port` of the control plane. */
  readonly address: string;
  readonly credentials: ChannelCredentials;
  readonly node: ProxyNode;
  readonly logger: Logger;
  /** Records kept at most while they cannot be sent. */
  readonly capacity?: number;
}

const METHOD = methodDefinition(DecisionLog.method.report);
const CAPACITY = 10_000;
const BATCH = 256;
/** A message that is larger than gRPC takes would be refused for ever, with all that wait behind it. */
const BATCH_BYTES = 1 << 20;
/** What a record takes beside the texts that are long in some. */
const OVERHEAD_BYTES = 512;
/** A record waits this long for others to travel with (ms), as in the Envoys' access log. */
const BATCH_MS = 100;
/** How long a stop waits for the last batch (ms). */
const LAST_MS = 1_000;

interface Numbered {
  readonly number: number;
  readonly record: RecordInit;
}

type ReportCall = ClientDuplexStream<ReportRequest, ReportResponse>;

function sizeOf({ method = "", path = "", host = "", caller = "", detail = "", audit = [] }: RecordInit): number {
  const texts = [method, path, host, caller, detail, ...audit];
  return texts.reduce((sum, text) => sum + 3 * text.length, OVERHEAD_BYTES);
}

/** How many go into one message, which has no gap. */
function consecutive(waiting: readonly Numbered[]): number {
  const [head] = waiting;
  let bytes = 0;
  const end = waiting.slice(0, BATCH).findIndex(({ number, record }, at) => {
    bytes += sizeOf(record);
    return number !== (head?.number ?? 0) + at || (at > 0 && bytes > BATCH_BYTES);
  });
  return end < 0 ? BATCH : end;
}

export class DecisionReporter implements Recorder {
  readonly #options: DecisionReporterOptions;
  readonly #capacity: number;
  readonly #client: Client;
  readonly #retry: Retry;
  /** Under it records are numbered; the numbers of another process are others. */
  readonly #run = randomUUID();
  /** Oldest first. */
  #waiting: Numbered[] = [];
  /** Sent on the stream that is open, and not yet acknowledged: sent again on the next one, under the same numbers. */
  #unacknowledged: Numbered[] = [];
  #next = 1;
  /** The number of the last that was acknowledged, and of the last that was sent since. */
  #taken = 0;
  #told = 0;
  #accepted = 0n;
  #dropped = 0;
  #call: ReportCall | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: DecisionReporterOptions) {
    this.#options = options;
    this.#capacity = options.capacity ?? CAPACITY;
    this.#client = new Client(options.address, options.credentials, {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.keepalive_time_ms": 30_000,
      ...tlsChannelOptions(options.address),
    });
    this.#retry = new Retry(() => this.#connect());
    this.#connect();
  }

  record(record: RecordInit): void {
    this.#waiting.push({ number: this.#next++, record });
    this.#bound();
    if (this.#waiting.length >= BATCH) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), BATCH_MS).unref();
  }

  /** Sends what there is, waits a moment for it to be taken in, and ends. */
  async stop(): Promise<void> {
    this.#retry.stop();
    this.#flush();
    const call = this.#call;
    this.#call = undefined;
    if (call !== undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, LAST_MS);
      call.on("status", () => resolve());
      call.end();
      await promise;
      clearTimeout(timer);
      call.cancel();
    }
    clearTimeout(this.#timer);
    this.#client.close();
  }

  /** Drops the oldest of what does not fit, and says so once until all of it could be sent again. */
  #bound(): void {
    const excess = this.#waiting.length - this.#capacity;
    if (excess <= 0) return;
    this.#waiting.splice(0, excess);
    if (this.#dropped === 0)
      this.#options.logger.log("warn", "decision records are dropped: the control plane does not take them", { kept: this.#capacity });
    this.#dropped += excess;
  }

  #connect(): void {
    const call = this.#client.makeBidiStreamRequest(METHOD.path, METHOD.requestSerialize, METHOD.responseDeserialize);
    let failure: ServiceError | undefined;
    this.#call = call;
    this.#accepted = 0n;
    call.on("data", (response: ReportResponse) => this.#acknowledged(call, response));
    call.on("drain", () => this.#flush());
    call.on("error", (error: ServiceError) => {
      failure = error;
    });
    call.on("status", () => this.#lost(call, failure));
    call.write(create(ReportRequestSchema, { node: this.#options.node, run: this.#run }));
    this.#flush();
  }

  #acknowledged(call: ReportCall, { accepted }: ReportResponse): void {
    if (call !== this.#call) return;
    this.#taken = this.#unacknowledged.splice(0, Number(accepted - this.#accepted)).at(-1)?.number ?? this.#taken;
    this.#accepted = accepted;
    this.#retry.succeeded();
    if (this.#dropped === 0) return;
    this.#options.logger.log("warn", "decision records were lost while the control plane was away", { lost: this.#dropped });
    this.#dropped = 0;
  }

  #lost(call: ReportCall, failure: ServiceError | undefined): void {
    if (call !== this.#call) return;
    this.#call = undefined;
    this.#waiting = [...this.#unacknowledged, ...this.#waiting];
    this.#unacknowledged = [];
    this.#told = this.#taken;
    this.#bound();
    const retryMs = this.#retry.again();
    const reason = failure === undefined ? "the stream ended" : fromGrpcError(failure).message;
    this.#options.logger.log("debug", "decision records wait for the control plane", { reason, retryMs, waiting: this.#waiting.length });
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#waiting.length > 0 && this.#call !== undefined && !this.#call.writableNeedDrain) {
      const batch = this.#waiting.splice(0, consecutive(this.#waiting));
      const first = batch[0]?.number ?? this.#next;
      const lost = first - 1 - this.#told;
      this.#unacknowledged.push(...batch);
      this.#told = first + batch.length - 1;
      const records = batch.map(({ record }) => record);
      this.#call.write(create(ReportRequestSchema, { records, first: BigInt(first), lost: BigInt(lost) }));
    }
    // The control plane answers each message; were it to answer none, what it read would not be kept for ever.
    this.#unacknowledged.splice(0, this.#unacknowledged.length - this.#capacity);
  }
}
