/**
 * Reading a raw tree field by field. A decoder answers undefined when anything is wrong, and then has said so in the
 * report; a record knows which of its keys were asked for, so that a key nobody reads is an error, never ignored.
 */
import type { DiagnosticCode } from "../../core/diagnostic.ts";
import { LIMITS } from "./limits.ts";
import { describeType, type RawEntry, type RawMap, type RawNode } from "./raw-node.ts";
import { quote, type Report } from "./report.ts";
import { closest } from "./suggest.ts";

/** A value on its way in: the node, what it is called, and who is told when it is wrong. */
export interface Cursor {
  readonly node: RawNode;
  /** Such as `spec.rules[0].from`. */
  readonly path: string;
  readonly report: Report;
}

export type Decoder<T> = (cursor: Cursor) => T | undefined;

/** Says what is wrong with a value, and answers undefined so that a decoder can end with it. */
export function wrong(cursor: Cursor, code: DiagnosticCode, why: string, help?: string): undefined {
  cursor.report.add(code, cursor.node.place, `${quote(cursor.path)} ${why}`, help);
  return undefined;
}

/** The node is not of the type that is asked for. */
export function wrongType(cursor: Cursor, expected: string, help?: string): undefined {
  const { node } = cursor;
  if (node.kind === "unusable") return wrong(cursor, "GAR0006", node.reason, node.help);
  return wrong(cursor, "GAR0006", `must be ${expected}, not ${describeType(node)}`, help);
}

/** Runs a decoder and answers undefined if it reported any error, whatever it answered itself. */
export function whole<T>(decoder: Decoder<T>): Decoder<T> {
  return (cursor) => {
    const before = cursor.report.errors;
    const result = decoder(cursor);
    return cursor.report.errors === before ? result : undefined;
  };
}

const PLAIN_KEY = /^[A-Za-z][A-Za-z0-9]*$/;

function pathOf(parent: string, key: string): string {
  if (!PLAIN_KEY.test(key)) return `${parent}[${JSON.stringify(key)}]`;
  return parent === "" ? key : `${parent}.${key}`;
}

/** The fields of a map, each read once. */
export class Fields {
  readonly cursor: Cursor;
  readonly #entries: ReadonlyMap<string, RawEntry>;
  /** What there is to write, and what is let pass. */
  readonly #known = new Set<string>();
  readonly #accepted = new Set<string>();

  constructor(cursor: Cursor, node: RawMap) {
    this.cursor = cursor;
    this.#entries = new Map(node.entries.map((entry) => [entry.key, entry]));
  }

  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Undefined where the field is absent or wrong; `has` tells which. */
  optional<T>(name: string, decoder: Decoder<T>): T | undefined {
    this.#known.add(name);
    const entry = this.#entries.get(name);
    return entry === undefined ? undefined : decoder(this.#child(entry));
  }

  required<T>(name: string, decoder: Decoder<T>, help?: string): T | undefined {
    if (this.has(name)) return this.optional(name, decoder);
    this.#known.add(name);
    const { node, path, report } = this.cursor;
    report.add("GAR0005", node.place, `${quote(pathOf(path, name))} is missing`, help);
    return undefined;
  }

  /** Names fields that may be read later. */
  expect(...names: readonly string[]): void {
    for (const name of names) this.#known.add(name);
  }

  /** Takes fields that mean nothing here; the caller says why. */
  accept(...names: readonly string[]): void {
    for (const name of names) this.#accepted.add(name);
  }

  /** Takes whatever has not been asked for; the caller says why. */
  acceptRest(): void {
    this.accept(...[...this.#entries.keys()].filter((name) => !this.#known.has(name)));
  }

  /** For a record of which too little is known to say which fields it may have. */
  acceptAll(): void {
    this.accept(...this.#entries.keys());
  }

  /** Fields that Istio or Kubernetes know and Garrison does not, each with what to do instead. */
  refuse(rows: Readonly<Record<string, string>>): void {
    for (const [name, help] of Object.entries(rows)) {
      this.#accepted.add(name);
      const entry = this.#entries.get(name);
      if (entry === undefined) continue;
      this.cursor.report.add("GAR0004", entry.place, `${quote(pathOf(this.cursor.path, name))} is not supported`, help);
    }
  }

  /** Fields that change nothing of who is spoken to and how it is secured: taken, and said not to be in force. */
  setAside(rows: Readonly<Record<string, string>>): void {
    for (const [name, help] of Object.entries(rows)) {
      this.#accepted.add(name);
      const entry = this.#entries.get(name);
      if (entry !== undefined)
        this.cursor.report.add("GAR0013", entry.place, `${quote(pathOf(this.cursor.path, name))} is not in force`, help);
    }
  }

  /** Fields that have no effect here, and none on who may do what: told by one warning for the whole object, or for each `help`. */
  tellUnused(names: readonly string[], help?: string): void {
    for (const name of names) {
      this.#accepted.add(name);
      const entry = this.#entries.get(name);
      if (entry !== undefined) this.cursor.report.addUnused(entry.place, quote(pathOf(this.cursor.path, name)), help);
    }
  }

  /** Keys that nobody has asked for so far. */
  get #strangers(): readonly RawEntry[] {
    return [...this.#entries.values()].filter(({ key }) => !this.#known.has(key) && !this.#accepted.has(key));
  }

  get hasStranger(): boolean {
    return this.#strangers.length > 0;
  }

  /** Reports each key that nobody asked for. */
  finish(): void {
    const { report, path } = this.cursor;
    for (const { key, place } of this.#strangers) {
      const meant = report.full ? undefined : closest(key, this.#known.union(this.#accepted));
      const help = meant === undefined ? `the fields here are ${[...this.#known].join(", ")}` : `did you mean \`${meant}\`?`;
      report.add("GAR0003", place, `unknown field ${quote(pathOf(path, key))}`, help);
    }
  }

  #child(entry: RawEntry): Cursor {
    const { path, report } = this.cursor;
    return { node: entry.value, path: pathOf(path, entry.key), report };
  }
}

/** A map with known fields. What `body` answers counts even if some of the fields are wrong. */
export function partialRecord<T>(body: (fields: Fields) => T | undefined): Decoder<T> {
  return (cursor) => {
    if (cursor.node.kind !== "map") return wrongType(cursor, "a map");
    const fields = new Fields(cursor, cursor.node);
    const result = body(fields);
    fields.finish();
    return result;
  };
}

/** A map with known fields; undefined if anything in it is wrong. */
export function record<T>(body: (fields: Fields) => T | undefined): Decoder<T> {
  return whole(partialRecord(body));
}

export interface Bounds {
  readonly min?: 0 | 1;
  readonly max: number;
}

function withinBounds(cursor: Cursor, length: number, { min = 0, max }: Bounds): boolean {
  if (length > max) wrong(cursor, "GAR0009", `has ${length} entries, more than ${max}`);
  else if (length < min) wrong(cursor, "GAR0007", "must not be empty", "remove the field, or give it a value");
  else return true;
  return false;
}

/** A list; undefined if any item is wrong, after all have been looked at. */
export function list<T>(item: Decoder<T>, bounds: Bounds): Decoder<readonly T[]> {
  return whole((cursor) => {
    const { node, path, report } = cursor;
    if (node.kind !== "list") return wrongType(cursor, "a list");
    if (!withinBounds(cursor, node.items.length, bounds)) return undefined;
    return node.items.flatMap((child, index) => {
      const value = item({ node: child, path: `${path}[${index}]`, report });
      return value === undefined ? [] : [value];
    });
  });
}

/** A map whose keys the user chooses; undefined if any key or value is wrong. `key` decodes a key as if it were a string value. */
export function mapOf<K, V>(key: Decoder<K>, value: Decoder<V>, bounds: Bounds): Decoder<ReadonlyMap<K, V>> {
  return whole((cursor) => {
    const { node, path, report } = cursor;
    if (node.kind !== "map") return wrongType(cursor, "a map");
    if (!withinBounds(cursor, node.entries.length, bounds)) return undefined;
    const result = new Map<K, V>();
    for (const entry of node.entries) {
      const at = pathOf(path, entry.key);
      const name = key({ node: { kind: "scalar", value: entry.key, place: entry.place }, path: at, report });
      const content = value({ node: entry.value, path: at, report });
      if (name !== undefined && content !== undefined) result.set(name, content);
    }
    return result;
  });
}

/** A string of at most `max` characters, possibly empty. */
export function stringUpTo(max: number): Decoder<string> {
  return (cursor) => {
    const { node } = cursor;
    if (node.kind !== "scalar" || typeof node.value !== "string") {
      const quotable = node.kind === "scalar" && node.value !== null;
      return wrongType(cursor, "a string", quotable ? "put it in quotes" : undefined);
    }
    return node.value.length > max ? wrong(cursor, "GAR0009", `is longer than ${max} characters`) : node.value;
  };
}

/** A string that is not empty. */
export const text: Decoder<string> = (cursor) => {
  const value = stringUpTo(LIMITS.text)(cursor);
  return value === "" ? wrong(cursor, "GAR0007", "must not be empty", "remove it, or give it a value") : value;
};

export function integer(min: number, max: number): Decoder<number> {
  return (cursor) => {
    const { node } = cursor;
    const value = node.kind === "scalar" ? node.value : undefined;
    if (typeof value !== "number")
      return wrongType(cursor, "a whole number", typeof value === "string" ? "write it without quotes" : undefined);
    if (!Number.isSafeInteger(value)) return wrong(cursor, "GAR0006", `must be a whole number, not ${value}`);
    return value < min || value > max ? wrong(cursor, "GAR0007", `must be ${min} to ${max}, not ${value}`) : value;
  };
}

/** A whole number as protobuf's JSON has it, and so Istio's MeshConfig: in quotes as well. */
export function protoInteger(min: number, max: number): Decoder<number> {
  const number = integer(min, max);
  return (cursor) => {
    const { node } = cursor;
    const quoted = node.kind === "scalar" && typeof node.value === "string" && /^-?(?:0|[1-9]\d{0,14})$/.test(node.value);
    return number(quoted ? { ...cursor, node: { kind: "scalar", value: Number(node.value), place: node.place } } : cursor);
  };
}

export const boolean: Decoder<boolean> = (cursor) => {
  const { node } = cursor;
  return node.kind === "scalar" && typeof node.value === "boolean" ? node.value : wrongType(cursor, "true or false");
};
