/** The mesh's other clusters, beside the configuration's own: how long a start waits for them, and what comes of all together. */
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { ClusterMerger } from "../../mesh/clusters.ts";
import type { KubernetesApi } from "../../sources/kubernetes/api.ts";
import { RemoteClusters } from "../../sources/kubernetes/remote/remote-clusters.ts";
import type { ConfigurationSnapshot } from "../../sources/snapshot.ts";
import type { Configuration } from "../mesh-state.ts";

/** Which other clusters there are, and how long a start waits for them. */
export interface OtherClustersPlace {
  /** Where the Secrets that name them are. */
  readonly namespace: string;
  readonly timeoutMs: number;
  /** Where pods of those find the control plane, and their API servers its certificate's name; without, pods there are not injected as they are made. */
  readonly controlPlane?: { readonly host: string; readonly port: number };
}

export interface OtherClustersOptions {
  readonly api: KubernetesApi;
  readonly place: OtherClustersPlace;
  /** The own cluster's name. */
  readonly own: string;
  readonly rootNamespace: string;
  readonly logger: Logger;
  /** Takes each configuration, of all clusters together. */
  readonly apply: (configuration: Configuration) => void;
  readonly signal?: AbortSignal;
}

export class OtherClusters {
  readonly clusters: RemoteClusters;
  readonly #options: OtherClustersOptions;
  readonly #merger = new ClusterMerger();
  #own: ConfigurationSnapshot | undefined;
  #started = false;

  constructor(options: OtherClustersOptions) {
    this.#options = options;
    const { api, place, own, logger } = options;
    this.clusters = new RemoteClusters({ api, logger, namespace: place.namespace, own, onChange: () => this.#publishLogged() });
  }

  /** What the own cluster says. Nothing is in force before `start`. */
  take(own: ConfigurationSnapshot): void {
    this.#own = own;
    if (this.#started) this.#publish();
  }

  /**
   * Puts the first configuration in force: once every cluster has been read, or its time is over. A cluster that is away must not end the
   * mesh: of it only workloads are missing then, and no policy, since those are of the own cluster alone.
   */
  async start(): Promise<void> {
    const { place, logger, signal } = this.#options;
    const over = sleep(place.timeoutMs, undefined, { ref: false, ...(signal === undefined ? {} : { signal }) }).catch(() => undefined);
    await Promise.race([this.clusters.settled, over]);
    if (signal?.aborted) throw new AppError("unavailable", "the clusters were never read: the wait was ended");
    const missing = this.clusters.statuses.filter(({ state }) => state === "connecting").map(({ name }) => name);
    if (missing.length > 0)
      logger.log("error", "serving without clusters that could not be read in time", {
        clusters: missing.join(", "),
        waitedMs: place.timeoutMs,
      });
    this.#started = true;
    this.#publish();
  }

  close(): Promise<void> {
    return this.clusters.close();
  }

  #publish(): void {
    const { rootNamespace, apply } = this.#options;
    if (this.#own === undefined) return;
    const { diagnostics: ofOwn, statuses } = this.#own;
    const { objects, diagnostics } = this.#merger.merge(this.#own.objects, this.clusters.current, rootNamespace);
    apply({ objects, diagnostics: [...ofOwn, ...this.clusters.diagnostics, ...diagnostics], statuses });
  }

  /** From a watch: nobody else would hear of it. */
  #publishLogged(): void {
    if (!this.#started) return;
    try {
      this.#publish();
    } catch (thrown) {
      this.#options.logger.log("error", "a configuration could not be put in force", { reason: AppError.from(thrown).message });
    }
  }
}
