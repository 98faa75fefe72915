/** What Envoy has recorded and the control plane has not: numbered, bounded, the oldest first. */
import type { LogBlock } from "./messages.ts";

interface Numbered extends LogBlock {
  /** The number of its first entry; the others follow it. */
  readonly first: number;
  /** Entries right before it that were dropped. */
  lostBefore: number;
}

/** Part of the buffer, for one message. */
export interface Batch {
  readonly first: number;
  readonly lost: number;
  readonly blocks: readonly LogBlock[];
}

export interface BufferBounds {
  /** Entries. */
  readonly capacity: number;
  readonly maxBytes: number;
}

/** What a block takes beside its entries. */
const OVERHEAD_BYTES = 400;
/** A message to the control plane has no more, but for a block that is larger alone. */
const BATCH_BYTES = 64 * 1024;

const sizeOf = ({ entries, log }: LogBlock) => entries.length + log.length + OVERHEAD_BYTES;

export class LogBuffer {
  readonly #bounds: BufferBounds;
  /** Those that are on their way stand first. */
  #blocks: Numbered[] = [];
  #sent = 0;
  #sentBytes = 0;
  #entries = 0;
  #bytes = 0;
  #next = 1;
  #lost = 0;

  constructor(bounds: BufferBounds) {
    this.#bounds = bounds;
  }

  /** Entries that the control plane has not acknowledged. */
  get waiting(): number {
    return this.#entries;
  }

  /** All that were ever dropped. */
  get lost(): number {
    return this.#lost;
  }

  /** Of what is on its way. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  add(block: LogBlock): void {
    this.#blocks.push({ ...block, first: this.#next, lostBefore: 0 });
    this.#next += block.count;
    this.#entries += block.count;
    this.#bytes += sizeOf(block);
    this.#bound();
  }

  /** What is to be sent next, which is on its way from now on; undefined where there is nothing. */
  take(): Batch | undefined {
    const [head, ...rest] = this.#blocks.slice(this.#sent, this.#sent + 256);
    if (head === undefined) return undefined;
    const blocks = [head];
    let bytes = sizeOf(head);
    for (const block of rest) {
      // A message tells what is lost before its first entry alone.
      if (block.lostBefore > 0 || bytes + sizeOf(block) > BATCH_BYTES) break;
      bytes += sizeOf(block);
      blocks.push(block);
    }
    this.#sent += blocks.length;
    this.#sentBytes += bytes;
    return { first: head.first, lost: head.lostBefore, blocks };
  }

  /** So many of the oldest are taken in. Returns how many that were lost before them have been told by that. */
  acknowledge(count: number): number {
    let told = 0;
    let left = count;
    for (let [head] = this.#blocks; this.#sent > 0 && head !== undefined && head.count <= left; [head] = this.#blocks) {
      left -= head.count;
      told += head.lostBefore;
      this.#sent--;
      this.#sentBytes -= sizeOf(head);
      this.#remove(0);
    }
    return told;
  }

  /** Nothing is on its way any more: all of it is to be sent again. */
  rewind(): void {
    this.#sent = 0;
    this.#sentBytes = 0;
    this.#bound();
  }

  /** What is on its way may have arrived, and stays; and so does the newest. */
  #bound(): void {
    const { capacity, maxBytes } = this.#bounds;
    while ((this.#entries > capacity || this.#bytes > maxBytes) && this.#sent < this.#blocks.length - 1) {
      const dropped = this.#remove(this.#sent);
      const next = this.#blocks[this.#sent];
      if (dropped === undefined || next === undefined) return;
      next.lostBefore += dropped.lostBefore + dropped.count;
      this.#lost += dropped.count;
    }
  }

  #remove(at: number): Numbered | undefined {
    const [removed] = this.#blocks.splice(at, 1);
    if (removed === undefined) return undefined;
    this.#entries -= removed.count;
    this.#bytes -= sizeOf(removed);
    return removed;
  }
}
