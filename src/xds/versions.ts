/** The versions that a client has by name: nearly always those of a map that it shares with others, and so hardly anything is held for each. */
import { changeBetween, type ResourcesOfType } from "./cache.ts";

const NONE: ResourcesOfType = new Map();
/** So many that differ from the map are held, and a part of its size besides, before another takes its place. */
const FEW = 16;
const PART = 16;

export class Versions {
  #of = NONE;
  /** What is otherwise than there; undefined for what is not. */
  #other = new Map<string, string | undefined>();

  get(name: string): string | undefined {
    return this.#other.has(name) ? this.#other.get(name) : this.#of.get(name)?.version;
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  get names(): readonly string[] {
    const kept = [...this.#of.keys()].filter((name) => !this.#other.has(name));
    return [...kept, ...[...this.#other].flatMap(([name, version]) => (version === undefined ? [] : [name]))];
  }

  set(name: string, version: string): void {
    if (this.#of.get(name)?.version === version) this.#other.delete(name);
    else this.#other.set(name, version);
  }

  delete(name: string): void {
    if (this.#of.has(name)) this.#other.set(name, undefined);
    else this.#other.delete(name);
  }

  /** What the versions are told apart from, now or later: changes none of them. For a client that has most of `resources`. */
  near(resources: ResourcesOfType): void {
    if (resources === this.#of || this.#other.size <= FEW + this.#of.size / PART) return;
    const { made, gone } = changeBetween(this.#of, resources);
    const differing = new Set([...made.map(({ name }) => name), ...gone, ...this.#other.keys()]);
    const versions = [...differing].map((name) => [name, this.get(name)] as const);
    const other = new Map(versions.filter(([name, version]) => resources.get(name)?.version !== version));
    if (other.size >= this.#other.size) return;
    this.#of = resources;
    this.#other = other;
  }
}
