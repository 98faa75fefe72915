/** `garrison.v1.NameTables`: agents that answer DNS follow the names of the mesh, each as its workload sees them. */
import type { AdmittedAgent } from "../../ca/trust-follower.ts";
import type { NameTable } from "../../compile/names.ts";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { NamesReport } from "../../gen/garrison/v1/names_pb.js";
import { RateLimit } from "../../rpc/rate-limit.ts";
import { endCall, NameFollower, type NamesCall } from "./name-follower.ts";

export interface NamesServiceOptions {
  /** Of a workload (`NAMESPACE/NAME`), as of now; one object for all that see the same. Undefined for a workload that is gone: its agent keeps what it has. */
  readonly tableOf: (workload: string) => NameTable | undefined;
  /** Who opened a stream for a workload. Throws an AppError to refuse. */
  readonly admit: (certificate: Uint8Array | undefined, workload: string) => AdmittedAgent;
  readonly clock: Clock;
  readonly logger: Logger;
}

const MAX_STREAMS = 50_000;
/** A restarted agent's old stream may linger. */
const MAX_STREAMS_PER_WORKLOAD = 4;
const MAX_WAITING = 10_000;
const FIRST_REPORT_MS = 10_000;
const TICK_MS = 1_000;
/** Reports of one workload: one for each update. */
const PER_SECOND = 50;
const AT_ONCE = 200;

export class NamesService {
  readonly #options: NamesServiceOptions;
  readonly #limit: RateLimit;
  /** By workload. */
  readonly #followers = new Map<string, Set<NameFollower>>();
  readonly #timer: NodeJS.Timeout;
  #streams = 0;
  #waiting = 0;
  #closed = false;

  constructor(options: NamesServiceOptions) {
    this.#options = options;
    this.#limit = new RateLimit({ perSecond: PER_SECOND, atOnce: AT_ONCE, clock: options.clock });
    this.#timer = setInterval(() => this.#expire(), TICK_MS).unref();
  }

  /** For `server.addService(serviceDefinition(NameTables), …)`. */
  get implementation() {
    return { Follow: (call: NamesCall) => this.#open(call) };
  }

  /** The mesh changed: whoever sees another table is told. */
  publish(): void {
    for (const follower of this.#all()) this.#offer(follower);
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const follower of this.#all()) this.#end(follower, new AppError("unavailable", "the control plane is shutting down"));
  }

  #open(call: NamesCall): void {
    call.on("error", () => undefined);
    if (this.#closed || this.#waiting >= MAX_WAITING || this.#streams >= MAX_STREAMS) {
      endCall(call, new AppError("resource-exhausted", "too many agents are connected"));
      return;
    }
    let follower: NameFollower | undefined;
    let over = false;
    this.#waiting += 1;
    const begun = () => {
      if (late === undefined) return;
      clearTimeout(late);
      late = undefined;
      this.#waiting -= 1;
    };
    const end = (reason: AppError | undefined) => {
      if (over) return;
      over = true;
      begun();
      if (follower !== undefined) this.#end(follower, reason);
      else if (reason !== undefined) endCall(call, reason);
    };
    let late: NodeJS.Timeout | undefined = setTimeout(
      () => end(new AppError("deadline-exceeded", "the stream did not begin with a report")),
      FIRST_REPORT_MS,
    );
    call.on("data", (report: NamesReport) => {
      if (over) return;
      try {
        follower ??= this.#admit(call, report);
        begun();
        this.#limit.take(follower.agent.workload);
        follower.take(report);
        this.#offer(follower);
      } catch (thrown) {
        end(AppError.from(thrown));
      }
    });
    for (const event of ["end", "cancelled", "close"]) call.on(event, () => end(undefined));
  }

  #admit(call: NamesCall, report: NamesReport): NameFollower {
    const { admit, logger } = this.#options;
    const agent = admit(call.getAuthContext().sslPeerCertificate?.raw, report.workload);
    const follower = new NameFollower(call, agent, report);
    const others = this.#followers.get(agent.workload) ?? new Set();
    const [oldest] = others;
    this.#followers.set(agent.workload, others.add(follower));
    this.#streams += 1;
    if (oldest !== undefined && others.size > MAX_STREAMS_PER_WORKLOAD)
      this.#end(oldest, new AppError("resource-exhausted", `more than ${MAX_STREAMS_PER_WORKLOAD} agents of one workload`));
    logger.log("debug", "an agent follows the names of the mesh", { workload: agent.workload, address: call.getPeer() });
    return follower;
  }

  #offer(follower: NameFollower): void {
    const table = this.#options.tableOf(follower.agent.workload);
    if (table !== undefined) follower.offer(table);
  }

  #expire(): void {
    const now = this.#options.clock.now();
    for (const follower of this.#all()) {
      if (now >= follower.agent.expiresAt)
        this.#end(follower, new AppError("unauthenticated", "the certificate that opened the stream has expired"));
    }
  }

  #end(follower: NameFollower, reason: AppError | undefined): void {
    const { workload } = follower.agent;
    const others = this.#followers.get(workload);
    if (others?.delete(follower) !== true) return;
    if (others.size === 0) this.#followers.delete(workload);
    this.#streams -= 1;
    follower.end(reason);
    this.#options.logger.log("debug", "an agent's names stream ended", { workload, reason: reason?.message });
  }

  #all(): readonly NameFollower[] {
    return [...this.#followers.values()].flatMap((followers) => [...followers]);
  }
}
