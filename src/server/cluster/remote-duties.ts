/**
 * What a control plane keeps up in other clusters: the roots in their namespaces, by which agents there know it (the ConfigMap
 * `istio-ca-root-cert`), and those in their webhooks, by which their API servers do. As far as the rights of each kubeconfig go.
 */
import type { Logger } from "../../core/logger.ts";
import type { KubernetesApi } from "../../sources/kubernetes/api.ts";
import type { RemoteClusters } from "../../sources/kubernetes/remote/remote-clusters.ts";
import { RootConfigMaps } from "../../sources/kubernetes/root-config-maps.ts";
import { WebhookBundles } from "../../sources/kubernetes/webhook-bundles.ts";

/** The name of the webhook configurations of a cluster whose control plane is elsewhere (the chart garrison-remote). */
const WEBHOOKS = "garrison-remote";

export interface RemoteDutiesOptions {
  readonly clusters: Pick<RemoteClusters, "readers">;
  /** PEM of the roots of now. */
  readonly roots: () => string;
  /** Whether this replica is the one to write. */
  readonly mayWrite: () => boolean;
  /** Whether API servers there can ask this control plane anything. */
  readonly webhooks: boolean;
  readonly logger: Logger;
}

interface OfCluster {
  readonly api: KubernetesApi;
  readonly writers: readonly (RootConfigMaps | WebhookBundles)[];
}

export class RemoteDuties {
  readonly #options: RemoteDutiesOptions;
  readonly #clusters = new Map<string, OfCluster>();
  readonly #closing = new Set<Promise<void>>();
  #closed = false;

  constructor(options: RemoteDutiesOptions) {
    this.#options = options;
    this.refresh();
  }

  /** Looks again: there are other clusters, namespaces or roots, or this replica has become the one to write. */
  refresh(): void {
    if (this.#closed) return;
    const readers = new Map(this.#options.clusters.readers.map((reader) => [reader.name, reader.api]));
    for (const [name, { api }] of this.#clusters) if (readers.get(name) !== api) this.#end(name);
    for (const [name, api] of readers) if (!this.#clusters.has(name)) this.#clusters.set(name, { api, writers: this.#start(name, api) });
    for (const { writers } of this.#clusters.values()) for (const writer of writers) writer.refresh();
  }

  /** What cannot be kept up in a cluster, and why; what only the replica that writes can know, it alone says. */
  problems(name: string): readonly string[] {
    return (this.#clusters.get(name)?.writers ?? []).flatMap(({ problem }) => problem ?? []);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const name of [...this.#clusters.keys()]) this.#end(name);
    await Promise.all(this.#closing);
  }

  #start(name: string, api: KubernetesApi): OfCluster["writers"] {
    const { clusters, roots, mayWrite, webhooks, logger: all } = this.#options;
    const logger: Logger = { log: (level, message, fields) => all.log(level, message, { cluster: name, ...fields }) };
    const namespaces = () => clusters.readers.find((reader) => reader.name === name)?.namespaces ?? [];
    const maps = new RootConfigMaps({ api, logger, namespaces, roots, mayWrite });
    return webhooks ? [maps, new WebhookBundles({ api, logger, name: WEBHOOKS, roots, mayWrite })] : [maps];
  }

  #end(name: string): void {
    const found = this.#clusters.get(name);
    this.#clusters.delete(name);
    if (found === undefined) return;
    const closing = Promise.all(found.writers.map((writer) => writer.close()))
      .then(() => undefined)
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}
