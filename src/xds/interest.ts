/** What a client asks for of one type: names, among them `*` for everything where the type has that. */
import type { ResourcesOfType } from "./cache.ts";
import type { Resource } from "./resource.ts";
import { WILDCARD_TYPES } from "./types.ts";

const WILDCARD = "*";

export class Interest {
  readonly #hasWildcard: boolean;
  readonly #names = new Set<string>();
  #named = false;

  constructor(typeUrl: string) {
    this.#hasWildcard = WILDCARD_TYPES.has(typeUrl);
  }

  get names(): ReadonlySet<string> {
    return this.#names;
  }

  isWildcard(name: string): boolean {
    return this.#hasWildcard && name === WILDCARD;
  }

  /** Everything of the type is wanted. */
  get all(): boolean {
    return this.#hasWildcard && this.#names.has(WILDCARD);
  }

  covers(name: string): boolean {
    return this.all || this.#names.has(name);
  }

  select(resources: ResourcesOfType): readonly Resource[] {
    if (this.all) return [...resources.values()];
    return [...this.#names].flatMap((name) => resources.get(name) ?? []);
  }

  /**
   * A request that names nothing means everything, in the old form of the wildcard, as long as none before it named
   * anything (xDS protocol, "How the client specifies what resources to return").
   */
  get emptyMeansAll(): boolean {
    return this.#hasWildcard && !this.#named;
  }

  /** A name that the client gave. */
  add(name: string): void {
    this.#named = true;
    this.#names.add(name);
  }

  /** The wildcard that the client did not write. */
  addAll(): void {
    this.#names.add(WILDCARD);
  }

  /** Returns whether it was there. */
  delete(name: string): boolean {
    return this.#names.delete(name);
  }
}
