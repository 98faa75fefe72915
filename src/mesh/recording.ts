/**
 * Results that are kept from one state of the mesh to the next. A computation is handed a snapshot that notes what is read
 * of it; its result is kept exactly as long as everything that it read is the same. A field that is read is a dependency on
 * all of that field. A `narrow` query is a dependency on its answer instead, which is asked for again when a field that the
 * query itself read has changed. So nothing can be forgotten: what no query narrows down costs time, never truth.
 */
import type { MeshSnapshot } from "./snapshot.ts";

/** Names of the snapshot's fields. */
type Fields = ReadonlySet<string>;

interface Asked {
  readonly answer: unknown;
  /** What the query read; undefined for an answer from outside, which may change at any time. */
  readonly fields: Fields | undefined;
}

interface Reading {
  /** As it was asked last. */
  asked: Asked;
  readonly ask: (snapshot: MeshSnapshot) => Asked;
}

/** Everything that one computation read. */
interface Readings {
  readonly fields: Fields;
  readonly readings: readonly Reading[];
}

class Recorder implements Readings {
  readonly fields = new Set<string>();
  readonly readings: Reading[] = [];
  readonly target: MeshSnapshot;
  /** What the computation is handed. */
  readonly snapshot: MeshSnapshot;

  constructor(target: MeshSnapshot) {
    this.target = target;
    this.snapshot = new Proxy(target, {
      get: (snapshot, field) => {
        this.fields.add(String(field));
        return Reflect.get(snapshot, field);
      },
    });
    recorders.set(this.snapshot, this);
  }
}

const recorders = new WeakMap<MeshSnapshot, Recorder>();

/** Equal sets of fields are one object: there are few of them, and very many readings. */
const knownFields = new Map<string, Fields>();

function sameFields(fields: Fields): Fields {
  const name = [...fields].sort().join(" ");
  const known = knownFields.get(name) ?? fields;
  knownFields.set(name, known);
  return known;
}

function allFields({ fields, readings }: Readings): Fields | undefined {
  const all = new Set(fields);
  for (const { asked } of readings) {
    if (asked.fields === undefined) return undefined;
    for (const field of asked.fields) all.add(field);
  }
  return sameFields(all);
}

/**
 * A query whose answer is the dependency, rather than all that it looks through: a primitive, an object of the snapshot, or a
 * list of them. Its arguments must be objects of the snapshot, or primitives.
 */
export function narrow<Arguments extends readonly unknown[], Result>(
  query: (snapshot: MeshSnapshot, ...args: Arguments) => Result,
): (snapshot: MeshSnapshot, ...args: Arguments) => Result {
  return (snapshot, ...args) => {
    const outer = recorders.get(snapshot);
    if (outer === undefined) return query(snapshot, ...args);
    const ask = (now: MeshSnapshot) => {
      const inner = new Recorder(now);
      return { answer: query(inner.snapshot, ...args), fields: allFields(inner) };
    };
    const asked = ask(outer.target);
    outer.readings.push({ asked, ask });
    return asked.answer;
  };
}

/** An answer that does not come from the snapshot: it is asked for again with every state. */
export function fromOutside<Result>(snapshot: MeshSnapshot, query: () => Result): Result {
  const answer = query();
  recorders.get(snapshot)?.readings.push({ asked: { answer, fields: undefined }, ask: () => ({ answer: query(), fields: undefined }) });
  return answer;
}

function isSame(before: unknown, now: unknown): boolean {
  if (!Array.isArray(before) || !Array.isArray(now)) return Object.is(before, now);
  return before.length === now.length && before.every((value, index) => Object.is(value, now[index]));
}

/** Says of sets of fields whether a change touches them; of each set once, since there are few. */
function touchedBy(changed: Fields): (fields: Fields | undefined) => boolean {
  const known = new Map<Fields | undefined, boolean>([[undefined, true]]);
  return (fields) => {
    const told = known.get(fields) ?? fields?.isDisjointFrom(changed) === false;
    known.set(fields, told);
    return told;
  };
}

/** Whether all that was read is as it was. An answer that is the same may have been found by reading other fields, which count from now on. */
function holds({ fields, readings }: Readings, isTouched: (fields: Fields | undefined) => boolean, now: MeshSnapshot): boolean {
  if (isTouched(fields)) return false;
  return readings.every((reading) => {
    if (!isTouched(reading.asked.fields)) return true;
    const again = reading.ask(now);
    const same = isSame(reading.asked.answer, again.answer);
    reading.asked = again;
    return same;
  });
}

/** The fields that are not the same object in two states. */
function changedFields(before: MeshSnapshot, now: MeshSnapshot): Fields {
  const [left, right] = [new Map(Object.entries(before)), new Map(Object.entries(now))];
  return new Set([...left.keys(), ...right.keys()].filter((field) => left.get(field) !== right.get(field)));
}

interface Entry<Result> extends Readings {
  readonly result: Result;
}

/** The result of one computation for each of many subjects, kept while what it read is the same. States are reconciled first. */
export class Kept<Subject extends object, Result> {
  readonly #compute: (snapshot: MeshSnapshot, subject: Subject) => Result;
  #entries: ReadonlyMap<Subject, Entry<Result>> = new Map();
  #snapshot: MeshSnapshot | undefined;

  constructor(compute: (snapshot: MeshSnapshot, subject: Subject) => Result) {
    this.#compute = compute;
  }

  /** The result for each subject, in their order; the same object where it was kept. */
  resultsFor(subjects: Iterable<Subject>, now: MeshSnapshot): readonly Result[] {
    const isTouched = touchedBy(changedFields(this.#snapshot ?? now, now));
    const [before, entries] = [this.#entries, new Map<Subject, Entry<Result>>()];
    // Should a computation throw, nothing is kept.
    this.#entries = new Map();
    for (const subject of subjects) {
      const known = before.get(subject);
      entries.set(subject, known !== undefined && holds(known, isTouched, now) ? known : this.#computeEntry(subject, now));
    }
    [this.#entries, this.#snapshot] = [entries, now];
    return [...entries.values()].map(({ result }) => result);
  }

  #computeEntry(subject: Subject, now: MeshSnapshot): Entry<Result> {
    const recorder = new Recorder(now);
    const result = this.#compute(recorder.snapshot, subject);
    // Not the recorder itself, which would keep this state of the mesh alive.
    return { result, fields: sameFields(recorder.fields), readings: recorder.readings };
  }
}
