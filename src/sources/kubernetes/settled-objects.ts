/** What became of a cluster's objects: each change is settled by itself, whatever there is besides. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { Ordered } from "../../core/ordered.ts";
import type { MeshObject } from "../../policy/model.ts";
import { settle } from "../last-good.ts";
import type { ConfigurationSnapshot, DecodedDocument, SourceStatus } from "../snapshot.ts";

export type NamedDocument = DecodedDocument & { readonly key: string };

export class SettledObjects {
  /** What became of each object, what of it is in force, and what is wrong with it. */
  #statuses = new Ordered<SourceStatus>();
  #objects = new Ordered<MeshObject>();
  #told = new Ordered<readonly Diagnostic[]>();

  statusOf(key: string): SourceStatus | undefined {
    return this.#statuses.get(key);
  }

  /** What is said now, by key; undefined of what is gone. */
  take(changes: ReadonlyMap<string, NamedDocument | undefined>): void {
    const settled = [...changes].map(([key, document]) => {
      const outcome = document === undefined ? undefined : settle(key, [document], this.#statuses.get(key));
      return { key, status: outcome?.status, told: outcome?.diagnostics ?? [] };
    });
    this.#statuses = this.#statuses.with(new Map(settled.map(({ key, status }) => [key, status])));
    this.#objects = this.#objects.with(new Map(settled.map(({ key, status }) => [key, status?.object])));
    this.#told = this.#told.with(new Map(settled.map(({ key, told }) => [key, told.length === 0 ? undefined : told])));
  }

  /** As of now; `more` is wrong besides. */
  snapshot(more: readonly Diagnostic[]): ConfigurationSnapshot {
    const diagnostics = [...this.#told.values.flat(), ...more];
    return { objects: this.#objects.values, diagnostics, statuses: this.#statuses.values, hidden: [] };
  }
}
