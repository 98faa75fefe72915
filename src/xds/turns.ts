/**
 * Whose turn it is to be sent a response. Where everybody sees a thousand services and all connect at once, a gigabyte would otherwise wait
 * in memory: so many bytes are under way at a time, and a response is made when its turn comes, of the newest that there is.
 */

/** A stream, which has one response under way at a time. */
export interface Sender {
  /** Its turn: it sends what is due, if anything is, and says so by `sent`. */
  send(): void;
  /** Others wait for memory that it holds by not reading. */
  stalled(): void;
  /** Its connection is to end at once: it was ended, and does not read what is still under way. */
  abandoned(): void;
}

export interface TurnLimits {
  /** Bytes that are under way and were written within `turnMs`. Half as many again for those who have had everything of their types before. */
  readonly turnBytes: number;
  /** Bytes under way in all; those written before are of clients that read slowly, who hold up nobody until there are so many. */
  readonly flightBytes: number;
  readonly turnMs: number;
  /** Milliseconds until who reads nothing is ended where others wait for it. */
  readonly stalledMs: number;
}

interface Flight {
  readonly bytes: number;
  readonly since: number;
  movedAt: number;
  late: boolean;
  ended: boolean;
}

/** Of so many turns one is of somebody new, whoever else waits. */
const TURNS_OF_NEW = 4;
/** A small change finds room, however many are new. */
const ROOM_OF_KNOWN = 1.5;

export class Turns {
  readonly #limits: TurnLimits;
  readonly #now: () => number;
  readonly #flights = new Map<Sender, Flight>();
  /** By who is new; who waits longest comes first. */
  readonly #waiting = { known: new Set<Sender>(), new: new Set<Sender>() } as const;
  #fresh = 0;
  #late = 0;
  #taken = 0;
  #calling = false;

  constructor(limits: TurnLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Bytes under way. */
  get bytes(): number {
    return this.#fresh + this.#late;
  }

  get waiting(): number {
    return this.#waiting.known.size + this.#waiting.new.size;
  }

  /** `send` is called, at once if it may be. `isNew`: it has not yet had everything of a type, and comes after the small changes of others. */
  ask(sender: Sender, isNew: boolean): void {
    this.#waiting[isNew ? "known" : "new"].delete(sender);
    this.#waiting[isNew ? "new" : "known"].add(sender);
    this.#call();
  }

  sent(sender: Sender, bytes: number): void {
    const now = this.#now();
    this.#flights.set(sender, { bytes, since: now, movedAt: now, late: false, ended: false });
    this.#fresh += bytes;
  }

  /** A part of what was sent has left. */
  moved(sender: Sender): void {
    const flight = this.#flights.get(sender);
    if (flight !== undefined) flight.movedAt = this.#now();
  }

  /** What was sent has left. */
  done(sender: Sender): void {
    this.#land(sender);
    this.#call();
  }

  /** It sends nothing any more. `isGone`: its memory is free, too; otherwise what is under way counts until it has left. */
  ended(sender: Sender, isGone: boolean): void {
    this.#waiting.known.delete(sender);
    this.#waiting.new.delete(sender);
    const flight = this.#flights.get(sender);
    if (flight === undefined) return;
    flight.ended = true;
    if (isGone) this.done(sender);
    else if (flight.late) this.#abandon(sender);
  }

  /** Called about once a second. */
  tick(): void {
    const now = this.#now();
    for (const [sender, flight] of [...this.#flights]) this.#look(sender, flight, now);
    this.#call();
  }

  #look(sender: Sender, flight: Flight, now: number): void {
    const { turnMs, flightBytes, stalledMs } = this.#limits;
    if (!flight.late && now - flight.since >= turnMs) {
      flight.late = true;
      this.#fresh -= flight.bytes;
      this.#late += flight.bytes;
    }
    if (flight.late && flight.ended) this.#abandon(sender);
    else if (now - flight.movedAt >= stalledMs && this.waiting > 0 && this.bytes >= flightBytes) sender.stalled();
  }

  #abandon(sender: Sender): void {
    sender.abandoned();
    this.done(sender);
  }

  #land(sender: Sender): void {
    const flight = this.#flights.get(sender);
    if (flight === undefined) return;
    this.#flights.delete(sender);
    if (flight.late) this.#late -= flight.bytes;
    else this.#fresh -= flight.bytes;
  }

  #call(): void {
    if (this.#calling) return;
    this.#calling = true;
    try {
      for (let next = this.#next(); next !== undefined; next = this.#next()) next.send();
    } finally {
      this.#calling = false;
    }
  }

  #next(): Sender | undefined {
    const { turnBytes, flightBytes } = this.#limits;
    if (this.bytes >= flightBytes) return undefined;
    const { known, new: added } = this.#waiting;
    const isTurnOfNew = added.size > 0 && (known.size === 0 || this.#taken % TURNS_OF_NEW === 0);
    const isRoom = this.#fresh < (known.size === 0 ? turnBytes : turnBytes * ROOM_OF_KNOWN);
    const queue = isTurnOfNew ? added : known;
    const [next] = queue;
    if (next === undefined || !isRoom) return undefined;
    queue.delete(next);
    this.#taken += 1;
    return next;
  }
}
