/** A configuration's objects by their kind: of a kind of which nothing has changed, the same list as before. */
import type { MeshObject } from "../policy/model.ts";
import { byAge } from "./order.ts";

type Kind = MeshObject["kind"];
type ObjectOf<K extends Kind> = Extract<MeshObject, { readonly kind: K }>;
type List = readonly MeshObject[];
type Lists = ReadonlyMap<Kind, List>;

/** What two lists do not have in common at their ends: all that is another object, and what stands between. */
interface Difference {
  readonly before: List;
  readonly after: List;
}

function difference(before: List, after: List): Difference {
  const shorter = Math.min(before.length, after.length);
  let first = 0;
  while (first < shorter && before[first] === after[first]) first++;
  let last = 0;
  while (last < shorter - first && before[before.length - 1 - last] === after[after.length - 1 - last]) last++;
  return { before: before.slice(first, before.length - last), after: after.slice(first, after.length - last) };
}

/** Objects that take their places one by one; more are sorted together with the others. */
const FEW = 64;

function placeByAge(sorted: List, object: MeshObject): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const other = sorted[middle];
    if (other !== undefined && byAge(other, object) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** `after`, oldest first, where `sorted` is `before` so. */
function sortedNext(before: List, after: List, sorted: List): List {
  const changed = difference(before, after);
  if (changed.after.length > FEW) return after.toSorted(byAge);
  const gone = new Set(changed.before);
  const next = sorted.filter((object) => !gone.has(object));
  for (const object of changed.after) next.splice(placeByAge(next, object), 0, object);
  return next;
}

export class ObjectIndex {
  readonly #all: List;
  readonly #lists: Lists;
  readonly #byAge: Map<Kind, List>;

  constructor(all: List, lists: Lists, sorted: Map<Kind, List>) {
    this.#all = all;
    this.#lists = lists;
    this.#byAge = sorted;
  }

  static of(objects: List): ObjectIndex {
    return new ObjectIndex(
      objects,
      Map.groupBy(objects, ({ kind }) => kind),
      new Map(),
    );
  }

  /** The index of another state, with the lists of this one where it has the same objects in the same order. */
  next(objects: List): ObjectIndex {
    const { before, after } = difference(this.#all, objects);
    const kinds = new Set([...before, ...after].map(({ kind }) => kind));
    const lists = [...kinds].map((kind) => [kind, objects.filter((object) => object.kind === kind)] as const);
    return this.#with(objects, new Map(lists));
  }

  /** With other objects of one kind. */
  with<K extends Kind>(kind: K, list: readonly ObjectOf<K>[]): ObjectIndex {
    return list === this.of(kind) ? this : this.#with(this.#all, new Map([[kind, list]]));
  }

  #with(all: List, changed: Lists): ObjectIndex {
    const sorted = [...this.#byAge].map(([kind, list]) => {
      const now = changed.get(kind);
      return [kind, now === undefined ? list : sortedNext(this.#lists.get(kind) ?? [], now, list)] as const;
    });
    return new ObjectIndex(all, new Map([...this.#lists, ...changed]), new Map(sorted));
  }

  /** In the order of the configuration. */
  of<K extends Kind>(kind: K): readonly ObjectOf<K>[] {
    return (this.#lists.get(kind) ?? NONE) as readonly ObjectOf<K>[];
  }

  /** Oldest first. */
  byAge<K extends Kind>(kind: K): readonly ObjectOf<K>[] {
    const known = this.#byAge.get(kind) ?? this.of(kind).toSorted(byAge);
    this.#byAge.set(kind, known);
    return known as readonly ObjectOf<K>[];
  }

  /** Of all kinds. */
  get objects(): List {
    return [...this.#lists.values()].flat();
  }

  /** Whether the other index has the same objects of these kinds. */
  isSame(other: ObjectIndex, kinds: readonly Kind[]): boolean {
    return kinds.every((kind) => this.of(kind) === other.of(kind));
  }
}

const NONE: List = [];
