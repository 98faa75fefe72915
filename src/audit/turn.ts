/** What waits for the end of a turn of the event loop, to be written in one transaction. */
import type { AppError } from "../core/error.ts";
import type { Delivery } from "./delivery.ts";
import { boundConnectionEnd, boundRecord, type ConnectionEnd, type NewAuditRecord } from "./record.ts";

interface PendingDelivery {
  readonly delivery: Delivery;
  readonly resolve: () => void;
  readonly reject: (error: AppError) => void;
}

export class Turn {
  readonly records: NewAuditRecord[] = [];
  readonly ends: ConnectionEnd[] = [];
  readonly deliveries: PendingDelivery[] = [];
  #delivered = 0;

  /** How much there is to write. */
  get size(): number {
    return this.records.length + this.ends.length + this.#delivered;
  }

  get isEmpty(): boolean {
    return this.size === 0 && this.deliveries.length === 0;
  }

  add(records: readonly NewAuditRecord[], ends: readonly ConnectionEnd[]): void {
    for (const record of records) this.records.push(boundRecord(record));
    for (const end of ends) this.ends.push(boundConnectionEnd(end));
  }

  /** Settles with what becomes of the transaction. */
  deliver(delivery: Delivery): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.deliveries.push({ delivery, resolve, reject });
    this.#delivered += delivery.meanings.length;
    return promise;
  }
}
