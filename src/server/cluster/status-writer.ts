/** The `status` of each object of Istio's kinds, written by one replica: only where it says something else, and never often. */
import type { CompiledMesh } from "../../compile/compile.ts";
import type { Clock } from "../../core/clock.ts";
import type { Diagnostic } from "../../core/diagnostic.ts";
import { AppError } from "../../core/error.ts";
import { inTurns } from "../../core/in-turns.ts";
import type { Logger } from "../../core/logger.ts";
import { type KubernetesApi, MERGE_PATCH } from "../../sources/kubernetes/api.ts";
import type { ClusterSource } from "../../sources/kubernetes/cluster-source.ts";
import { Coalesced } from "../../sources/kubernetes/coalesced.ts";
import type { WrittenObject } from "../../sources/kubernetes/found-objects.ts";
import { isServersTrouble, Pauses } from "../../sources/kubernetes/pauses.ts";
import type { ProxyCount, ProxyCounts } from "../../sources/kubernetes/replica-reports.ts";
import { nextConditions, type ObjectReport, readConditions } from "./conditions.ts";

export interface StatusWriterOptions {
  readonly api: KubernetesApi;
  readonly source: Pick<ClusterSource, "written">;
  readonly mesh: () => Pick<CompiledMesh, "statuses"> & { readonly diagnostics: readonly Diagnostic[] };
  /** Of all replicas. */
  readonly counts: () => ProxyCounts;
  readonly mayWrite: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds from a change to its status, in which proxies answer; and between two rounds. */
  readonly settleMs?: number;
  readonly intervalMs?: number;
}

/** Written in one round, of each namespace one after the other; the others wait for the next. */
const ROUND = 50;
/** So many failures of the server in a row, each at another object, are no longer the objects' own, such as that one is too large. */
const FAILURES = 5;
const SETTLE_MS = 500;
const INTERVAL_MS = 2_000;
const NOBODY: ProxyCount = { connected: 0, enforced: 0 };

interface Change {
  readonly namespace: string;
  readonly path: string;
  readonly version: string;
  readonly patch: unknown;
}

export class StatusWriter {
  readonly #options: StatusWriterOptions;
  readonly #writer: Coalesced;
  readonly #pauses = new Pauses();

  constructor(options: StatusWriterOptions) {
    this.#options = options;
    const { logger, settleMs = SETTLE_MS, intervalMs = INTERVAL_MS } = options;
    this.#writer = new Coalesced({ what: "writing statuses", work: (signal) => this.#round(signal), logger, settleMs, intervalMs });
  }

  /** Something that a status says may be otherwise. */
  refresh(): void {
    this.#writer.ask();
  }

  close(): Promise<void> {
    return this.#writer.close();
  }

  #changes(): readonly Change[] {
    const { mesh, source, counts, clock } = this.#options;
    const { statuses, diagnostics } = mesh();
    const byObject = Map.groupBy(diagnostics, ({ place }) => place.file);
    const selections = new Map(statuses.map(({ object, workloads }) => [object, workloads.length]));
    const proxies = counts();
    return source.written().flatMap((written): readonly Change[] => {
      const { key, state, instead, uid, generation, status } = written;
      const workloads = selections.get(key);
      const { connected, enforced } = proxies.get(key) ?? NOBODY;
      const report: ObjectReport = {
        state,
        instead,
        diagnostics: byObject.get(key) ?? [],
        ...(workloads === undefined ? {} : { enforcement: { workloads, connected, enforced } }),
      };
      const conditions = nextConditions(readConditions(status), report, generation, clock.now());
      // Another object of the name is another object: its status is not this one's. And nobody else's condition is put back to what it was.
      return conditions === undefined
        ? []
        : [
            {
              namespace: namespaceOf(written),
              path: statusPath(written),
              version: written.resourceVersion,
              patch: {
                metadata: { uid, resourceVersion: written.resourceVersion },
                status: { conditions, observedGeneration: generation },
              },
            },
          ];
    });
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { api, mayWrite } = this.#options;
    if (!mayWrite()) return;
    const changes = this.#changes().filter(({ path, version }) => !this.#pauses.isPaused(path, version));
    let failures = 0;
    for (const { path, version, patch } of inTurns(changes, ({ namespace }) => namespace).slice(0, ROUND)) {
      if (signal.aborted || !mayWrite()) return;
      const { status } = await api.call("PATCH", path, patch, MERGE_PATCH);
      // Gone, or another by now.
      if (status === 409) this.refresh();
      if (status === 200 || status === 404 || status === 409) {
        this.#pauses.forget(path);
        failures = 0;
        continue;
      }
      failures += isServersTrouble({ status }) ? 1 : 0;
      this.#refused({ path, version }, status);
      if (failures === FAILURES) throw new AppError("unavailable", `the API server answers ${status} to ${path}`);
    }
    if (changes.length > ROUND) this.refresh();
  }

  /** An object whose status cannot be written, as it is too large with what others wrote into it or is refused by a rule of somebody's, holds up no other. */
  #refused({ path, version }: Pick<Change, "path" | "version">, status: number): void {
    const level = this.#pauses.size === 0 ? "warn" : "debug";
    this.#pauses.refuse(path, version);
    this.#options.logger.log(level, "a status cannot be written: the others go on", { path, reason: `the API server answers ${status}` });
  }
}

function namespaceOf({ key }: WrittenObject): string {
  return key.slice(key.indexOf(" ") + 1).split("/", 1)[0] ?? "";
}

function statusPath({ path }: WrittenObject): string {
  return `${path}/status`;
}
