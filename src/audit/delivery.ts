/** What a reporter delivers under numbers of its own: written once, however often it comes. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { ConnectionEnd, EntryMeaning, NewAuditRecord, Reporter } from "./record.ts";

export interface Delivery {
  /** `NAMESPACE/NAME`, from the stream's certificate. */
  readonly workload: string;
  readonly reporter: Reporter;
  /** The name under which the reporter numbers. */
  readonly run: string;
  /** The number of the first of `meanings`; the others follow it. */
  readonly first: number;
  /** How many numbers it takes: more than there are meanings, where some could not be read. */
  readonly count: number;
  readonly meanings: readonly EntryMeaning[];
  /** What the reporter dropped right before the first. */
  readonly lost: number;
}

/** How far each run has come, beside the records (in one transaction with them). */
export const DELIVERY_TABLE = `
  CREATE TABLE delivery (
    workload TEXT NOT NULL, run TEXT NOT NULL, through INTEGER NOT NULL, received INTEGER NOT NULL, PRIMARY KEY (workload, run)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX delivery_received ON delivery (received);
`;

/** What was delivered long ago comes no second time: a reporter that lives delivers again within seconds of being heard. */
const KEPT_MS = 7 * 24 * 3600 * 1000;
/** Each start of a proxy is a run; nobody fills the table with them. */
const RUNS_PER_WORKLOAD = 64;

/** Where what is new goes. */
export interface DeliverySink {
  readonly record: (record: NewAuditRecord) => void;
  readonly end: (end: ConnectionEnd) => void;
}

/** Stands in the record for what never came. */
function lostRecord({ workload, reporter }: Delivery, count: number, time: number): NewAuditRecord {
  return {
    time,
    reporter,
    workload,
    service: "",
    caller: "",
    sourceIp: "",
    protocol: "tcp",
    method: "",
    path: "",
    host: "",
    port: 0,
    status: 0,
    bytesReceived: 0,
    bytesSent: 0,
    durationMicros: 0,
    effect: "lost",
    origin: "",
    detail: `${count} records: the control plane did not take them in time`,
    audit: [],
  };
}

export class Deliveries {
  readonly #through: StatementSync;
  readonly #advance: StatementSync;
  readonly #forgetOld: StatementSync;
  readonly #forgetMany: StatementSync;

  constructor(db: DatabaseSync) {
    this.#through = db.prepare("SELECT through FROM delivery WHERE workload = ? AND run = ?");
    this.#advance = db.prepare(
      "INSERT INTO delivery (workload, run, through, received) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET through = excluded.through, received = excluded.received",
    );
    this.#forgetOld = db.prepare("DELETE FROM delivery WHERE received < ?");
    this.#forgetMany = db.prepare(
      "DELETE FROM delivery WHERE workload = ? AND run NOT IN (SELECT run FROM delivery WHERE workload = ? ORDER BY received DESC LIMIT ?)",
    );
  }

  /** Gives the sink what of it is new, and takes note of that; in the transaction that is open. */
  write(delivery: Delivery, received: number, sink: DeliverySink): void {
    const { workload, run, first, count, meanings, lost } = delivery;
    const known = this.#through.get(workload, run);
    const through = known === undefined ? undefined : Number(known.through);
    // What was dropped while it was on its way may have arrived.
    const missing = through === undefined ? lost : Math.min(lost, first - 1 - through);
    if (missing > 0) sink.record(lostRecord(delivery, missing, received));
    for (const meaning of meanings.slice(Math.max(0, (through ?? 0) + 1 - first))) {
      if (meaning.kind === "record") sink.record(meaning.record);
      else if (meaning.kind === "end") sink.end(meaning.end);
    }
    this.#advance.run(workload, run, Math.max(through ?? 0, first + count - 1), received);
    if (through !== undefined) return;
    this.#forgetOld.run(received - KEPT_MS);
    this.#forgetMany.run(workload, workload, RUNS_PER_WORKLOAD);
  }
}
