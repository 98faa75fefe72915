/** Which version of each resource of one type a client was told of. */
import { changeBetween, type ResourcesOfType } from "./cache.ts";
import type { Interest } from "./interest.ts";
import type { Resource } from "./resource.ts";
import { Versions } from "./versions.ts";

/** In place of a version: the client was told that there is no such resource. */
const ABSENT = "";
/** In place of a version: what the client has is not known, so it is told. No hash looks like this. */
const UNKNOWN = "?";

/**
 * Between two looks at the resources only what has changed among them is looked at, which is found once for all streams; all
 * of them after anything else has changed what the client was told or wants.
 */
export class Told {
  readonly #versions = new Versions();
  /** Of these, all that are wanted were told. */
  #madeOf: ResourcesOfType | undefined;
  /** Among these is all that was told. */
  #goneFrom: ResourcesOfType | undefined;

  /** Of it the client was told that it is, was, or is not. */
  has(name: string): boolean {
    return this.#versions.has(name);
  }

  get names(): readonly string[] {
    return this.#versions.names;
  }

  /** Resources that the client was told of. */
  get size(): number {
    return this.names.filter((name) => this.#versions.get(name) !== ABSENT).length;
  }

  /** What the client wants, or what it was told, may be anything. */
  lookAtAll(): void {
    this.#madeOf = undefined;
    this.#goneFrom = undefined;
  }

  /** What the client has of it is not known. */
  doubt(name: string): void {
    this.#set(name, UNKNOWN);
  }

  /** As `doubt`, where it was told of a resource; returns whether it was. */
  forget(name: string): boolean {
    const isTold = (this.#versions.get(name) ?? ABSENT) !== ABSENT;
    if (isTold) this.doubt(name);
    return isTold;
  }

  /** The client has this version, as it says itself. */
  claim(name: string, version: string): void {
    this.#set(name, version);
  }

  drop(name: string): void {
    this.lookAtAll();
    this.#versions.delete(name);
  }

  #set(name: string, version: string): void {
    this.lookAtAll();
    this.#versions.set(name, version);
  }

  /** Wanted and not told. Whoever asks tells all of it, or calls `lookAtAll`. */
  newsOf(resources: ResourcesOfType, interest: Interest): readonly Resource[] {
    const candidates =
      this.#madeOf === undefined
        ? interest.select(resources)
        : changeBetween(this.#madeOf, resources).made.filter(({ name }) => interest.covers(name));
    this.#madeOf = resources;
    return candidates.filter(({ name, version }) => this.#versions.get(name) !== version);
  }

  /** Told, and no more. Whoever asks tells all of it, or calls `lookAtAll`. */
  goneFrom(resources: ResourcesOfType): readonly string[] {
    const candidates = this.#goneFrom === undefined ? this.names : changeBetween(this.#goneFrom, resources).gone;
    this.#goneFrom = resources;
    return candidates.filter((name) => (this.#versions.get(name) ?? ABSENT) !== ABSENT && !resources.has(name));
  }

  /** They are on their way. */
  sent(resources: readonly Resource[]): void {
    for (const { name, version } of resources) {
      if (this.#goneFrom?.has(name) !== true) this.#goneFrom = undefined;
      this.#versions.set(name, version);
    }
    if (this.#madeOf !== undefined) this.#versions.near(this.#madeOf);
  }

  /** That they are no more is on its way; `isAsked` tells of which the client is to know when they are again. */
  removed(names: readonly string[], isAsked: (name: string) => boolean): void {
    for (const name of names) {
      if (isAsked(name)) this.#versions.set(name, ABSENT);
      else this.#versions.delete(name);
    }
  }
}
