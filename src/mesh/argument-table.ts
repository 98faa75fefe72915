/** Where what was made of several things is found again by them: answers of queries, parts that are rendered. */

/** Forgotten when there are so many under one place: then some are found anew, and no longer shared. */
const MAX_PRIMITIVES = 100_000;

/** What is found by arguments: objects, and primitives. What is of an object goes with it. */
export class ArgumentTable<Found> {
  #ofObjects: WeakMap<object, ArgumentTable<Found>> | undefined;
  #ofPrimitives: Map<unknown, ArgumentTable<Found>> | undefined;
  #found: Found | undefined;

  find(args: readonly unknown[], make: () => Found): Found {
    let table: ArgumentTable<Found> = this;
    for (const argument of args) table = table.#next(argument);
    table.#found ??= make();
    return table.#found;
  }

  #next(argument: unknown): ArgumentTable<Found> {
    const isObject = typeof argument === "object" && argument !== null;
    const known = isObject ? this.#ofObjects?.get(argument) : this.#ofPrimitives?.get(argument);
    if (known !== undefined) return known;
    const next = new ArgumentTable<Found>();
    if (isObject) {
      this.#ofObjects ??= new WeakMap();
      this.#ofObjects.set(argument, next);
    } else {
      this.#ofPrimitives ??= new Map();
      if (this.#ofPrimitives.size >= MAX_PRIMITIVES) this.#ofPrimitives.clear();
      this.#ofPrimitives.set(argument, next);
    }
    return next;
  }
}
