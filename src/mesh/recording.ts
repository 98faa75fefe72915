/**
 * Answers that are kept from one state of the mesh to the next. A query is handed a snapshot that notes what is read of it; its
 * answer is kept exactly as long as everything that it read is the same. A field that is read is a dependency on all of that
 * field. A `narrow` query inside it is a dependency on that query's answer instead, which is found once for all who ask, and again
 * only when what it read itself has changed. So nothing can be forgotten: what no query narrows down costs time, never truth.
 */
import { ArgumentTable } from "./argument-table.ts";
import { Reconciliation } from "./reconcile.ts";
import type { MeshSnapshot } from "./snapshot.ts";

// === Fields ===

/** Sets of the snapshot's fields, as bits. Should there ever be more fields than bits, some share one, and are asked again together. */
type Fields = number;

const BITS = 30;
/** What does not come from the snapshot, and may change with every state. */
const OUTSIDE: Fields = 1 << BITS;

const bits = new Map<string, Fields>();

function bitOf(field: string): Fields {
  const bit = bits.get(field) ?? 1 << (bits.size % BITS);
  bits.set(field, bit);
  return bit;
}

/** The fields that are not the same object in two states. */
function changedFields(before: MeshSnapshot | undefined, now: MeshSnapshot): Fields {
  const [left, right] = [new Map(Object.entries(before ?? {})), new Map(Object.entries(now))];
  const changed = [...left.keys(), ...right.keys()].filter((field) => left.get(field) !== right.get(field));
  return changed.reduce((all, field) => all | bitOf(field), 0);
}

// === Answers ===

type Query = (snapshot: MeshSnapshot, ...args: readonly unknown[]) => unknown;

/** The answer that was there before where the new one says the same, so that whoever compares need only look at identity. */
type Keep = (before: unknown, now: unknown, history: History) => unknown;

function keepSame(before: unknown, now: unknown): unknown {
  if (!Array.isArray(before) || !Array.isArray(now)) return now;
  return before.length === now.length && before.every((value, index) => Object.is(value, now[index])) ? before : now;
}

function keepEqual(before: unknown, now: unknown, { reconciliation }: History): unknown {
  return reconciliation.of(before, now);
}

/** One query with its arguments: what it came to, and what it read for that. Times are counts of the states of a history. */
export class Answer {
  readonly #ask: (snapshot: MeshSnapshot) => unknown;
  readonly #keep: Keep;
  #value: unknown;
  /** The fields that it read itself; with those that the answers below it read. */
  #own: Fields;
  #all: Fields = 0;
  #below: readonly Answer[] = [];
  /** Watched answers that have read this one. It is watched as long as there is one, or somebody watches it himself. */
  readonly #above = new Set<Answer>();
  #watch: Watch | undefined;
  #reachedAt = 0;
  #checkedAt = 0;
  #changedAt = 0;

  constructor(ask: (snapshot: MeshSnapshot) => unknown, keep: Keep, own: Fields = 0) {
    this.#ask = ask;
    this.#keep = keep;
    this.#own = own;
  }

  /** As of now. Should the query throw, the next one who asks has it asked again. */
  at(history: History): unknown {
    if (this.#checkedAt === history.time) return this.#value;
    if (this.#checkedAt === 0) this.#askAgain(history);
    else if ((this.#all & history.changedSince(this.#checkedAt)) !== 0) {
      if (this.#isOutdated(history)) this.#askAgain(history);
      // An answer that is the same may have been found by reading other fields, which count from now on.
      else this.#all = this.#below.reduce((all, answer) => all | answer.#all, this.#own);
    }
    this.#checkedAt = history.time;
    return this.#value;
  }

  /** In the order in which they were read: what comes after one that is different may make no sense any more. */
  #isOutdated(history: History): boolean {
    if ((this.#own & history.changedSince(this.#checkedAt)) !== 0) return true;
    return this.#below.some((answer) => {
      answer.at(history);
      return answer.#changedAt > this.#checkedAt;
    });
  }

  #askAgain(history: History): void {
    const recorder = new Recorder(history);
    const value = this.#keep(this.#value, this.#ask(recorder.snapshot), history);
    if (this.#checkedAt === 0 || !Object.is(value, this.#value)) this.#changedAt = history.time;
    this.#value = value;
    const [before, own] = [this.#below, this.#own];
    this.#own = recorder.fields | (own & OUTSIDE);
    this.#below = [...recorder.answers];
    this.#all = this.#below.reduce((all, answer) => all | answer.#all, this.#own);
    if (!this.#isWatched) return;
    history.readers.move(this, own, this.#own);
    for (const answer of this.#below) answer.#readBy(this, history);
    for (const answer of before) if (!recorder.answers.has(answer)) answer.#leftBy(this, history);
  }

  // === watched answers ===

  get #isWatched(): boolean {
    return this.#watch !== undefined || this.#above.size > 0;
  }

  /** From now on `watch` is told when the answer may have changed. It must be as of now. */
  watchedBy(watch: Watch, history: History): void {
    const was = this.#isWatched;
    this.#watch = watch;
    if (!was) this.#begin(history);
  }

  unwatch(history: History): void {
    if (this.#watch === undefined) return;
    this.#watch = undefined;
    if (!this.#isWatched) this.#end(history);
  }

  #readBy(above: Answer, history: History): void {
    const was = this.#isWatched;
    this.#above.add(above);
    if (!was) this.#begin(history);
  }

  #leftBy(above: Answer, history: History): void {
    if (this.#above.delete(above) && !this.#isWatched) this.#end(history);
  }

  #begin(history: History): void {
    history.readers.move(this, 0, this.#own);
    for (const answer of this.#below) answer.#readBy(this, history);
  }

  #end(history: History): void {
    history.readers.move(this, this.#own, 0);
    for (const answer of this.#below) answer.#leftBy(this, history);
  }

  /** A field that it reads itself has changed: if that changes the answer, all that have read it are reached. */
  follow(history: History): void {
    try {
      this.at(history);
    } catch {
      // Whoever still asks for it meets the error.
      this.#reach(history.time);
      return;
    }
    if (this.#changedAt === history.time) this.#reach(history.time);
  }

  #reach(time: number): void {
    if (this.#reachedAt === time) return;
    this.#reachedAt = time;
    this.#watch?.();
    for (const answer of this.#above) answer.#reach(time);
  }
}

/** Told that an answer may have changed. */
type Watch = () => void;

/** By field, the watched answers that read it themselves. */
class Readers {
  readonly #byBit = new Map<Fields, Set<Answer>>();

  move(answer: Answer, from: Fields, to: Fields): void {
    for (let left = from & ~to; left !== 0; left &= left - 1) this.#of(left & -left).delete(answer);
    for (let come = to & ~from; come !== 0; come &= come - 1) this.#of(come & -come).add(answer);
  }

  /** Those that read one of the fields. */
  of(fields: Fields): ReadonlySet<Answer> {
    const found = new Set<Answer>();
    for (let rest = fields; rest !== 0; rest &= rest - 1) for (const answer of this.#of(rest & -rest)) found.add(answer);
    return found;
  }

  #of(bit: Fields): Set<Answer> {
    const known = this.#byBit.get(bit) ?? new Set();
    this.#byBit.set(bit, known);
    return known;
  }
}

/** By which a snapshot that is handed to a query tells who notes what is read of it. */
const RECORDER = Symbol("recorder");

class Recorder implements ProxyHandler<MeshSnapshot> {
  readonly history: History;
  /** What a query is handed. */
  readonly snapshot: MeshSnapshot;
  readonly answers = new Set<Answer>();
  fields: Fields = 0;

  constructor(history: History) {
    this.history = history;
    this.snapshot = new Proxy(history.snapshot, this);
  }

  get(snapshot: MeshSnapshot, field: string | symbol): unknown {
    if (field === RECORDER) return this;
    this.fields |= bitOf(String(field));
    return Reflect.get(snapshot, field);
  }

  read(answer: Answer): unknown {
    this.answers.add(answer);
    return answer.at(this.history);
  }
}

function recorderOf(snapshot: MeshSnapshot & { readonly [RECORDER]?: Recorder }): Recorder | undefined {
  return snapshot[RECORDER];
}

// === One state after another ===

/** One state of a mesh after another, and the answers that still hold. */
export class History {
  readonly #tables = new WeakMap<Query, ArgumentTable<Answer>>();
  /** When each field has changed last. */
  readonly #changedAt = new Array<number>(BITS).fill(0);
  readonly #changedSince = new Map<number, Fields>();
  readonly readers = new Readers();
  #snapshot: MeshSnapshot | undefined;
  /** Of the answers of this state with those of before. */
  reconciliation = new Reconciliation();
  time = 0;

  /** The next state, reconciled with the one before. Queries that are handed what comes back keep their answers here. */
  advance(snapshot: MeshSnapshot): MeshSnapshot {
    this.time += 1;
    this.reconciliation = new Reconciliation();
    const changed = changedFields(this.#snapshot, snapshot);
    for (let bit = 0; bit < BITS; bit++) if ((changed & (1 << bit)) !== 0) this.#changedAt[bit] = this.time;
    this.#changedSince.clear();
    this.#snapshot = snapshot;
    for (const answer of this.readers.of(changed | OUTSIDE)) answer.follow(this);
    return new Recorder(this).snapshot;
  }

  /** The answer of a query that was made by `narrow` or `derived`, to be watched. */
  answerOf<Arguments extends readonly unknown[]>(
    query: (snapshot: MeshSnapshot, ...args: Arguments) => unknown,
    ...args: Arguments
  ): Answer {
    const { ask, keep } = queries.get(query as Query) ?? { ask: query as Query, keep: keepSame };
    return this.find(ask, args, keep);
  }

  get snapshot(): MeshSnapshot {
    if (this.#snapshot === undefined) throw new TypeError("a history has no state before the first");
    return this.#snapshot;
  }

  changedSince(time: number): Fields {
    const known = this.#changedSince.get(time);
    if (known !== undefined) return known;
    const changed = this.#changedAt.reduce((all, at, bit) => (at > time ? all | (1 << bit) : all), OUTSIDE);
    this.#changedSince.set(time, changed);
    return changed;
  }

  find(query: Query, args: readonly unknown[], keep: Keep): Answer {
    const table = this.#tables.get(query) ?? new ArgumentTable<Answer>();
    this.#tables.set(query, table);
    return table.find(args, () => new Answer((snapshot) => query(snapshot, ...args), keep));
  }
}

// === Queries ===

/** What stands behind a query that is kept. */
const queries = new WeakMap<Query, { readonly ask: Query; readonly keep: Keep }>();

function kept<Arguments extends readonly unknown[], Result>(
  query: (snapshot: MeshSnapshot, ...args: Arguments) => Result,
  keep: Keep,
): (snapshot: MeshSnapshot, ...args: Arguments) => Result {
  const asked = (snapshot: MeshSnapshot, ...args: Arguments): Result => {
    const recorder = recorderOf(snapshot);
    if (recorder === undefined) return query(snapshot, ...args);
    return recorder.read(recorder.history.find(query as Query, args, keep)) as Result;
  };
  queries.set(asked as Query, { ask: query as Query, keep });
  return asked;
}

/**
 * A query whose answer is the dependency, rather than all that it looks through: a primitive, an object of the snapshot, or a
 * list of them. Its arguments must be objects of the snapshot, or primitives.
 */
export function narrow<Arguments extends readonly unknown[], Result>(
  query: (snapshot: MeshSnapshot, ...args: Arguments) => Result,
): (snapshot: MeshSnapshot, ...args: Arguments) => Result {
  return kept(query, keepSame);
}

/** As `narrow`, of a query that makes plain data: what is equal in two of its answers is the same object. */
export function derived<Arguments extends readonly unknown[], Result>(
  query: (snapshot: MeshSnapshot, ...args: Arguments) => Result,
): (snapshot: MeshSnapshot, ...args: Arguments) => Result {
  return kept(query, keepEqual);
}

/** An answer that does not come from the snapshot: it is asked for again with every state. */
export function fromOutside<Result>(snapshot: MeshSnapshot, query: () => Result): Result {
  const recorder = recorderOf(snapshot);
  return recorder === undefined ? query() : (recorder.read(new Answer(query, keepSame, OUTSIDE)) as Result);
}
