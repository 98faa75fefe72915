/** `garrison.v1.NameTables`: agents that answer DNS follow the names of the mesh, each as its workload sees them. */
import type { NameTable } from "../../compile/names.ts";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/logger.ts";
import type { NamesReport, NamesUpdate } from "../../gen/garrison/v1/names_pb.js";
import { type AdmitAgent, AgentStreams } from "../../rpc/agent-streams.ts";
import { NameFollower, type NamesCall } from "./name-follower.ts";

export interface NamesServiceOptions {
  /** Of a workload (`NAMESPACE/NAME`), as of now; one object for all that see the same. Undefined for a workload that is gone: its agent keeps what it has. */
  readonly tableOf: (workload: string) => NameTable | undefined;
  readonly admit: AdmitAgent;
  readonly clock: Clock;
  readonly logger: Logger;
}

const TICK_MS = 1_000;
/** Reports of one workload: one for each update. */
const PER_SECOND = 50;
const AT_ONCE = 200;

export class NamesService {
  readonly #options: NamesServiceOptions;
  readonly #streams: AgentStreams<NamesReport, NamesUpdate, NameFollower>;
  readonly #timer: NodeJS.Timeout;

  constructor(options: NamesServiceOptions) {
    this.#options = options;
    this.#streams = new AgentStreams({
      ...options,
      what: "the names of the mesh",
      perSecond: PER_SECOND,
      atOnce: AT_ONCE,
      begin: (call, agent, first) => new NameFollower(call, agent, first),
      take: (follower, report) => {
        follower.take(report);
        this.#offer(follower);
      },
    });
    this.#timer = setInterval(() => this.#streams.expire(), TICK_MS).unref();
  }

  /** For `server.addService(serviceDefinition(NameTables), …)`. */
  get implementation() {
    return { Follow: (call: NamesCall) => this.#streams.open(call) };
  }

  /** The mesh changed: whoever sees another table is told. */
  publish(): void {
    for (const follower of this.#streams.all) this.#offer(follower);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#streams.close();
  }

  #offer(follower: NameFollower): void {
    const table = this.#options.tableOf(follower.workload);
    if (table !== undefined) follower.offer(table);
  }
}
