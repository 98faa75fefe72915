/** The roots in the namespaces of other clusters: there too, agents know the control plane by the ConfigMap `istio-ca-root-cert`. */
import type { Logger } from "../../core/logger.ts";
import type { KubernetesApi } from "../../sources/kubernetes/api.ts";
import type { RemoteClusters } from "../../sources/kubernetes/remote/remote-clusters.ts";
import { RootConfigMaps } from "../../sources/kubernetes/root-config-maps.ts";

export interface RemoteRootsOptions {
  readonly clusters: Pick<RemoteClusters, "readers">;
  /** PEM of the roots of now. */
  readonly roots: () => string;
  /** Whether this replica is the one to write. */
  readonly mayWrite: () => boolean;
  readonly logger: Logger;
}

interface OfCluster {
  readonly api: KubernetesApi;
  readonly maps: RootConfigMaps;
}

export class RemoteRoots {
  readonly #options: RemoteRootsOptions;
  readonly #clusters = new Map<string, OfCluster>();
  readonly #closing = new Set<Promise<void>>();
  #closed = false;

  constructor(options: RemoteRootsOptions) {
    this.#options = options;
    this.refresh();
  }

  /** Looks again: there are other clusters, namespaces or roots, or this replica has become the one to write. */
  refresh(): void {
    if (this.#closed) return;
    const readers = new Map(this.#options.clusters.readers.map((reader) => [reader.name, reader.api]));
    for (const [name, { api }] of this.#clusters) if (readers.get(name) !== api) this.#end(name);
    for (const [name, api] of readers) if (!this.#clusters.has(name)) this.#clusters.set(name, { api, maps: this.#start(name, api) });
    for (const { maps } of this.#clusters.values()) maps.refresh();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const name of [...this.#clusters.keys()]) this.#end(name);
    await Promise.all(this.#closing);
  }

  #start(name: string, api: KubernetesApi): RootConfigMaps {
    const { clusters, roots, mayWrite, logger } = this.#options;
    return new RootConfigMaps({
      api,
      logger: { log: (level, message, fields) => logger.log(level, message, { cluster: name, ...fields }) },
      namespaces: () => clusters.readers.find((reader) => reader.name === name)?.namespaces ?? [],
      roots,
      mayWrite,
    });
  }

  #end(name: string): void {
    const found = this.#clusters.get(name);
    this.#clusters.delete(name);
    if (found === undefined) return;
    const closing = found.maps.close().finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}
