/** What a client said of the resources of one type: which version of each it runs, and which it refused. */
import type { ResourcesOfType } from "./cache.ts";
import type { Resource } from "./resource.ts";
import { FIRST_ANSWER_ONLY } from "./types.ts";
import { Versions } from "./versions.ts";

export class Verdicts {
  readonly #accepted = new Versions();
  readonly #rejected = new Set<string>();
  /** Refused versions that an ACK does not make good; empty for types whose every answer counts. */
  readonly #refused: Map<string, string>;
  readonly #keepsRefused: boolean;

  /** `refused`: kept up to date here, and shared by the streams of a client that comes back. */
  constructor(typeUrl: string, refused: Map<string, string>) {
    this.#keepsRefused = FIRST_ANSWER_ONLY.has(typeUrl);
    this.#refused = refused;
  }

  /** The version that the client said it runs. */
  accepted(name: string): string | undefined {
    return this.#accepted.get(name);
  }

  get rejected(): ReadonlySet<string> {
    return this.#rejected;
  }

  /** The client said so itself when it came back. */
  claim(name: string, version: string): void {
    this.#accepted.set(name, version);
  }

  /** `of`: all resources of the state that these are of. */
  accept(resources: readonly Resource[], of: ResourcesOfType): void {
    for (const { name, version } of resources) {
      if (this.#refused.get(name) === version) {
        this.#rejected.add(name);
        continue;
      }
      this.#refused.delete(name);
      this.#rejected.delete(name);
      this.#accepted.set(name, version);
    }
    this.#accepted.near(of);
  }

  /** Refused together: what of it the client runs already is not meant. Where nothing else is left, the removals are. */
  reject(resources: readonly Resource[], removed: readonly string[]): void {
    const meant = resources.filter(({ name, version }) => this.#accepted.get(name) !== version);
    if (meant.length === 0) for (const name of removed) if (this.#accepted.has(name)) this.#rejected.add(name);
    for (const { name, version } of meant) {
      this.#rejected.add(name);
      if (this.#keepsRefused) this.#refused.set(name, version);
    }
  }

  /** The client no longer has, or no longer wants, the resource. Returns whether it had refused it. */
  drop(name: string): boolean {
    this.#accepted.delete(name);
    return this.#rejected.delete(name);
  }

  /** The whole state was accepted. */
  clearRejected(): void {
    this.#rejected.clear();
  }
}
