/** What a decoder does with the fields of an object, seen while it decodes one that has them all. */
import { type DecodedObject, decodeObject } from "../../src/policy/decode/decode.ts";
import type { RawNode } from "../../src/policy/decode/raw-node.ts";
import { Fields } from "../../src/policy/decode/reader.ts";

export interface ObservedFields {
  readonly decoded: DecodedObject;
  /** Paths such as `spec.rules[].from[].source`, in the order in which the decoder asks. */
  readonly read: readonly string[];
  /** Taken, and without meaning here. */
  readonly accepted: readonly string[];
  /** Told with a warning, and without effect. */
  readonly unused: readonly string[];
  /** Path to what to do instead. */
  readonly refused: ReadonlyMap<string, string>;
  /** Taken with a warning: path to why. */
  readonly setAside: ReadonlyMap<string, string>;
  /** Fields of `read` that the object does not have: nothing is known of what is below them. */
  readonly missing: readonly string[];
  /** Fields of `read` that it has. */
  readonly present: readonly string[];
}

function pathOf(fields: Fields, name: string): string {
  const parent = fields.cursor.path.replaceAll(/\[\d+\]/g, "[]").replaceAll(/\["[^"]*"\]/g, "[KEY]");
  return parent === "" ? name : `${parent}.${name}`;
}

class Notes {
  readonly read = new Set<string>();
  readonly accepted = new Set<string>();
  readonly unused = new Set<string>();
  readonly refused = new Map<string, string>();
  readonly setAside = new Map<string, string>();
  readonly present = new Set<string>();

  take(fields: Fields, names: readonly string[], kind: "read" | "accepted" | "unused"): void {
    for (const name of names) {
      const path = pathOf(fields, name);
      this[kind].add(path);
      if (fields.has(name)) this.present.add(path);
    }
  }
}

/** Lets `notes` hear what every decoder asks of `Fields`, until the function that it answers is called. */
function listen(notes: Notes): () => void {
  const { optional, required, expect, accept, refuse, setAside, tellUnused } = Fields.prototype;
  Fields.prototype.optional = function (name, decoder) {
    notes.take(this, [name], "read");
    return optional.call(this, name, decoder) as ReturnType<typeof decoder>;
  };
  Fields.prototype.required = function (name, decoder, help) {
    notes.take(this, [name], "read");
    return required.call(this, name, decoder, help) as ReturnType<typeof decoder>;
  };
  Fields.prototype.expect = function (...names) {
    notes.take(this, names, "read");
    expect.call(this, ...names);
  };
  Fields.prototype.accept = function (...names) {
    notes.take(this, names, "accepted");
    accept.call(this, ...names);
  };
  Fields.prototype.refuse = function (rows) {
    for (const [name, help] of Object.entries(rows)) notes.refused.set(pathOf(this, name), help);
    refuse.call(this, rows);
  };
  Fields.prototype.setAside = function (rows) {
    for (const [name, help] of Object.entries(rows)) notes.setAside.set(pathOf(this, name), help);
    setAside.call(this, rows);
  };
  Fields.prototype.tellUnused = function (names, help) {
    notes.take(this, names, "unused");
    tellUnused.call(this, names, help);
  };
  return () => void Object.assign(Fields.prototype, { optional, required, expect, accept, refuse, setAside, tellUnused });
}

/** Decodes an object, and tells what became of each of its fields. */
export function observeFields(node: RawNode): ObservedFields {
  const notes = new Notes();
  const stop = listen(notes);
  try {
    const decoded = decodeObject(node);
    const { read, accepted, unused, refused, setAside, present } = notes;
    return {
      decoded,
      read: [...read],
      accepted: [...accepted],
      unused: [...unused],
      refused,
      setAside,
      missing: [...read].filter((path) => !present.has(path)),
      present: [...present],
    };
  } finally {
    stop();
  }
}
