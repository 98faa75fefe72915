/** The streams by which agents follow something: admitted by their first report, bounded, one set for each workload, ended with their certificates. */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { peerCertificateOf } from "./peer-certificate.ts";
import { RateLimit } from "./rate-limit.ts";
import { endCall } from "./status.ts";

/** Who follows, as its certificate proves. */
export interface AdmittedAgent {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  readonly identity: string;
  /** Milliseconds. */
  readonly expiresAt: number;
}

/** Who opened a stream for a workload. Throws an AppError to refuse. */
export type AdmitAgent = (certificate: Uint8Array | undefined, workload: string) => AdmittedAgent;

/** One agent that follows. */
export interface AgentStream extends Pick<AdmittedAgent, "workload" | "expiresAt"> {
  /** Once; with a reason, the agent is told it. */
  end(reason: AppError | undefined): void;
}

export interface AgentStreamsOptions<Report, Update, Stream extends AgentStream> {
  /** What they follow, for the log. */
  readonly what: string;
  readonly admit: AdmitAgent;
  readonly begin: (call: ServerDuplexStream<Report, Update>, agent: AdmittedAgent, first: Report) => Stream;
  /** Takes in what an agent says. Throws an AppError to end its stream. */
  readonly take: (stream: Stream, report: Report) => void;
  /** An agent has gone. */
  readonly onEnd?: () => void;
  /** Reports of one workload. */
  readonly perSecond: number;
  readonly atOnce: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

const MAX_STREAMS = 50_000;
/** A restarted agent's old stream may linger. */
const MAX_STREAMS_PER_WORKLOAD = 4;
const MAX_WAITING = 10_000;
const FIRST_REPORT_MS = 10_000;

export class AgentStreams<Report extends { readonly workload: string }, Update, Stream extends AgentStream> {
  readonly #options: AgentStreamsOptions<Report, Update, Stream>;
  readonly #limit: RateLimit;
  readonly #byWorkload = new Map<string, Set<Stream>>();
  #count = 0;
  #waiting = 0;
  #closed = false;

  constructor(options: AgentStreamsOptions<Report, Update, Stream>) {
    this.#options = options;
    this.#limit = new RateLimit(options);
  }

  /** Those that are admitted. */
  get all(): readonly Stream[] {
    return [...this.#byWorkload.values()].flatMap((streams) => [...streams]);
  }

  get count(): number {
    return this.#count;
  }

  /** The handler of the method. */
  open(call: ServerDuplexStream<Report, Update>): void {
    call.on("error", () => undefined);
    if (this.#closed || this.#waiting >= MAX_WAITING || this.#count >= MAX_STREAMS) {
      endCall(call, new AppError("resource-exhausted", "too many agents are connected"));
      return;
    }
    let stream: Stream | undefined;
    let state: "waiting" | "following" | "over" = "waiting";
    this.#waiting += 1;
    const become = (next: "following" | "over"): void => {
      if (state === "waiting") this.#waiting -= 1;
      state = next;
      clearTimeout(late);
    };
    const end = (reason: AppError | undefined): void => {
      const wasOver = state === "over";
      become("over");
      if (stream !== undefined) this.#end(stream, reason);
      // Also where the agent has said nothing and is done: a call that nobody ends stays as long as its connection.
      else if (!wasOver) endCall(call, reason);
    };
    const late = setTimeout(() => end(new AppError("deadline-exceeded", "the stream did not begin with a report")), FIRST_REPORT_MS);
    call.on("data", (report: Report) => {
      if (state === "over") return;
      try {
        stream ??= this.#admit(call, report);
        become("following");
        this.#limit.take(stream.workload);
        this.#options.take(stream, report);
      } catch (thrown) {
        end(AppError.from(thrown));
      }
    });
    for (const event of ["end", "cancelled", "close"]) call.on(event, () => end(undefined));
  }

  /** Ends those whose certificates have expired. */
  expire(): void {
    const now = this.#options.clock.now();
    for (const stream of this.all)
      if (now >= stream.expiresAt) this.#end(stream, new AppError("unauthenticated", "the certificate that opened the stream has expired"));
  }

  close(): void {
    this.#closed = true;
    for (const stream of this.all) this.#end(stream, new AppError("unavailable", "the control plane is shutting down"));
  }

  #admit(call: ServerDuplexStream<Report, Update>, report: Report): Stream {
    const { admit, begin, logger, what } = this.#options;
    const agent = admit(peerCertificateOf(call)?.raw, report.workload);
    const stream = begin(call, agent, report);
    const others = this.#byWorkload.get(agent.workload) ?? new Set();
    const [oldest] = others;
    this.#byWorkload.set(agent.workload, others.add(stream));
    this.#count += 1;
    if (oldest !== undefined && others.size > MAX_STREAMS_PER_WORKLOAD)
      this.#end(oldest, new AppError("resource-exhausted", `more than ${MAX_STREAMS_PER_WORKLOAD} agents of one workload`));
    logger.log("debug", `an agent follows ${what}`, { workload: agent.workload, address: call.getPeer() });
    return stream;
  }

  #end(stream: Stream, reason: AppError | undefined): void {
    const { workload } = stream;
    const others = this.#byWorkload.get(workload);
    if (others?.delete(stream) !== true) return;
    if (others.size === 0) this.#byWorkload.delete(workload);
    this.#count -= 1;
    stream.end(reason);
    this.#options.logger.log("debug", `an agent does not follow ${this.#options.what} any more`, { workload, reason: reason?.message });
    this.#options.onEnd?.();
  }
}
