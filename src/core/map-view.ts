/** Maps that hold nothing of their own: they are read like any other, and copied for nobody. */

abstract class MapView<K, V> implements ReadonlyMap<K, V> {
  abstract readonly size: number;
  abstract get(key: K): V | undefined;
  abstract has(key: K): boolean;
  abstract entries(): MapIterator<[K, V]>;

  *keys(): MapIterator<K> {
    for (const [key] of this.entries()) yield key;
  }

  *values(): MapIterator<V> {
    for (const [, value] of this.entries()) yield value;
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }

  forEach(visit: (value: V, key: K, map: ReadonlyMap<K, V>) => void): void {
    for (const [key, value] of this.entries()) visit(value, key, this);
  }
}

class Mapped<K, From, V> extends MapView<K, V> {
  readonly #of: ReadonlyMap<K, From>;
  readonly #make: (from: From) => V;

  constructor(of: ReadonlyMap<K, From>, make: (from: From) => V) {
    super();
    this.#of = of;
    this.#make = make;
  }

  get size(): number {
    return this.#of.size;
  }

  get(key: K): V | undefined {
    const from = this.#of.get(key);
    return from === undefined ? undefined : this.#make(from);
  }

  has(key: K): boolean {
    return this.#of.has(key);
  }

  override keys(): MapIterator<K> {
    return this.#of.keys();
  }

  *entries(): MapIterator<[K, V]> {
    for (const [key, from] of this.#of) yield [key, this.#make(from)];
  }
}

/** The same keys in the same order; a value is made whenever it is asked for. No value of `of` is undefined. */
export function mapped<K, From extends object, V>(of: ReadonlyMap<K, From>, make: (from: From) => V): ReadonlyMap<K, V> {
  return new Mapped(of, make);
}

/** What is in one map or the other. No key is in both. */
export class JoinedMap<K, V> extends MapView<K, V> {
  readonly own: ReadonlyMap<K, V>;
  readonly shared: ReadonlyMap<K, V>;

  constructor(own: ReadonlyMap<K, V>, shared: ReadonlyMap<K, V>) {
    super();
    this.own = own;
    this.shared = shared;
  }

  get size(): number {
    return this.own.size + this.shared.size;
  }

  get(key: K): V | undefined {
    return this.own.get(key) ?? this.shared.get(key);
  }

  has(key: K): boolean {
    return this.own.has(key) || this.shared.has(key);
  }

  override *keys(): MapIterator<K> {
    yield* this.own.keys();
    yield* this.shared.keys();
  }

  *entries(): MapIterator<[K, V]> {
    yield* this.own.entries();
    yield* this.shared.entries();
  }
}
