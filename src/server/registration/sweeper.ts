/** Takes away the entries of machines that did not come back: of agents that are away, and of replicas that died with them. One replica does it. */
import { performance } from "node:perf_hooks";
import type { Logger } from "../../core/logger.ts";
import type { KubernetesApi } from "../../sources/kubernetes/api.ts";
import { annotationsOf } from "../../sources/kubernetes/api-objects.ts";
import type { ClusterSource } from "../../sources/kubernetes/cluster-source.ts";
import { Coalesced } from "../../sources/kubernetes/coalesced.ts";
import { DISCONNECTED_AT, REGISTRATION_GROUP, WORKLOAD_CONTROLLER } from "../../sources/kubernetes/entry-health.ts";
import type { WorkloadEntryFound } from "../../sources/kubernetes/found-objects.ts";
import { isReplica } from "../cluster/replica.ts";
import { removeEntry } from "./cluster-entries.ts";

export interface EntrySweeperOptions {
  readonly api: KubernetesApi;
  readonly source: Pick<ClusterSource, "entries">;
  /** The replicas that live; undefined while nobody can tell. */
  readonly alive: () => ReadonlySet<string> | undefined;
  /** Whether this replica is the one. */
  readonly mayWrite: () => boolean;
  /** From when an entry was seen to be left until it goes. */
  readonly graceMs: number;
  readonly logger: Logger;
  /** Milliseconds between two looks. */
  readonly lookMs?: number;
}

const LOOK_MS = 1_000;

interface Left {
  /** What left it: another of the same entry begins anew. */
  readonly mark: string;
  readonly at: number;
}

export class EntrySweeper {
  readonly #options: EntrySweeperOptions;
  readonly #writer: Coalesced;
  readonly #timer: NodeJS.Timeout;
  /** By path. */
  #left: ReadonlyMap<string, Left> = new Map();

  constructor(options: EntrySweeperOptions) {
    this.#options = options;
    const { logger, lookMs = LOOK_MS } = options;
    this.#writer = new Coalesced({ what: "taking machines away that are gone", work: () => this.#sweep(), logger, intervalMs: lookMs });
    this.#timer = setInterval(() => this.#writer.ask(), lookMs).unref();
  }

  close(): Promise<void> {
    clearInterval(this.#timer);
    return this.#writer.close();
  }

  /** What left an entry; undefined where its agent is connected, and for entries that are not of our making. */
  #markOf({ object }: WorkloadEntryFound, alive: ReadonlySet<string>): string | undefined {
    const annotations = annotationsOf(object.body);
    const { [WORKLOAD_CONTROLLER]: controller, [DISCONNECTED_AT]: disconnected } = annotations;
    if (annotations[REGISTRATION_GROUP] === undefined || !isReplica(controller)) return undefined;
    if (typeof disconnected === "string") return `${controller} ${disconnected}`;
    return alive.has(controller) ? undefined : controller;
  }

  async #sweep(): Promise<void> {
    const { api, source, alive, mayWrite, graceMs, logger } = this.#options;
    const living = mayWrite() ? alive() : undefined;
    if (living === undefined) {
      this.#left = new Map();
      return;
    }
    const now = performance.now();
    const left = new Map<string, Left>();
    for (const entry of source.entries()) {
      const mark = this.#markOf(entry, living);
      if (mark === undefined) continue;
      const known = this.#left.get(entry.path);
      left.set(entry.path, known?.mark === mark ? known : { mark, at: now });
    }
    this.#left = left;
    for (const { path, object } of source.entries()) {
      const { at } = left.get(path) ?? {};
      if (at === undefined || now - at < graceMs || !mayWrite()) continue;
      const { uid } = object.body.metadata as { readonly uid?: unknown };
      const gone = await removeEntry(api, path, { uid, resourceVersion: object.metadata.resourceVersion });
      if (gone)
        logger.log("info", "a machine did not come back, and is taken away", {
          workload: `${object.metadata.namespace}/${object.metadata.name}`,
        });
    }
  }
}
