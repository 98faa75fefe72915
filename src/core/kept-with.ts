/** Results that are kept with a part of what they were made of, as long as everything else that was read for them is the same. */

interface Made<Result> {
  /** The fields of the whole that were read, as they were. */
  readonly read: ReadonlyMap<PropertyKey, unknown>;
  readonly result: Result;
}

const MOST = 4;

function noting<Whole extends object>(whole: Whole, read: Map<PropertyKey, unknown>): Whole {
  const unnamed = (): never => {
    throw new TypeError("fields are read by their names, so that it is known which");
  };
  return new Proxy(whole, {
    get(target, field) {
      const value: unknown = Reflect.get(target, field);
      read.set(field, value);
      return value;
    },
    has: unnamed,
    ownKeys: unnamed,
  });
}

function holds(whole: object, { read }: Made<unknown>): boolean {
  for (const [field, value] of read) if (!Object.is(Reflect.get(whole, field), value)) return false;
  return true;
}

/**
 * `make`, with its results kept. It may read all of the part, and fields of the whole, which count by identity: none of their
 * contents may ever change. Nothing need be said of which fields it reads. For a part that several wholes share, `most` results are kept.
 */
export function keptWith<Whole extends object, Part extends object, Result>(
  make: (whole: Whole, part: Part) => Result,
  most = MOST,
): (whole: Whole, part: Part) => Result {
  const known = new WeakMap<Part, readonly Made<Result>[]>();
  return (whole, part) => {
    const before = known.get(part) ?? [];
    const found = before.find((made) => holds(whole, made));
    if (found !== undefined) return found.result;
    const read = new Map<PropertyKey, unknown>();
    const result = make(noting(whole, read), part);
    known.set(part, [{ read, result }, ...before].slice(0, most));
    return result;
  };
}
