/** The other clusters of the mesh: those that Secrets name, each watched by itself, come and go without touching the rest. */
import type { Diagnostic } from "../../../core/diagnostic.ts";
import { AppError } from "../../../core/error.ts";
import type { Logger } from "../../../core/logger.ts";
import type { OtherCluster } from "../../../mesh/clusters.ts";
import type { MeshObject } from "../../../policy/model.ts";
import type { KubernetesApi } from "../api.ts";
import { Reflector, type ReflectorOptions } from "../reflector.ts";
import type { TokenReviewer } from "../token-review.ts";
import { RemoteCluster, type RemoteState } from "./remote-cluster.ts";
import { type NamedCluster, namedClusters, remoteSecretKind } from "./remote-secrets.ts";

export interface RemoteClustersOptions {
  /** Of the own cluster. */
  readonly api: KubernetesApi;
  readonly logger: Logger;
  /** Where the Secrets are. */
  readonly namespace: string;
  /** The name of the own cluster. */
  readonly own: string;
  /** Something of `current` or `diagnostics` is different. */
  readonly onChange: () => void;
  readonly limits?: ReflectorOptions["limits"];
}

/** `refused`: its kubeconfig cannot be taken, and never could. */
export interface RemoteClusterStatus {
  readonly name: string;
  /** `NAMESPACE/NAME`. */
  readonly secret: string;
  /** Undefined for a refused one. */
  readonly server: string | undefined;
  readonly state: RemoteState | "refused";
  /** Milliseconds since the Unix epoch; undefined for a refused one. */
  readonly since: number | undefined;
  readonly problem: string | undefined;
  /** Undefined: all. */
  readonly namespaces: readonly string[] | undefined;
  /** Pods that were seen. */
  readonly pods: number;
}

/** What is taken of a cluster's objects, by the list and the restriction that it was made of. */
interface Taken {
  readonly of: readonly MeshObject[];
  readonly by: NamedCluster["namespaces"];
  readonly objects: readonly MeshObject[];
  /** The names of its namespaces. */
  readonly namespaces: readonly string[];
}

interface Running {
  /** Its last form that could be taken. */
  named: NamedCluster;
  readonly cluster: RemoteCluster;
  taken: Taken | undefined;
}

function isOf(object: MeshObject, namespaces: ReadonlySet<string>): boolean {
  return namespaces.has(object.kind === "Namespace" ? object.meta.name : object.meta.namespace);
}

function take(of: readonly MeshObject[], by: NamedCluster["namespaces"]): Taken {
  const objects = by === undefined ? of : of.filter((object) => isOf(object, by));
  const namespaces = objects.flatMap(({ kind, meta }) => (kind === "Namespace" ? [meta.name] : []));
  return { of, by, objects, namespaces };
}

/** Its objects of the namespaces that it may speak for; made once of what is the same. */
function takenOf(running: Running): Taken {
  const of = running.cluster.snapshot?.objects ?? [];
  const by = running.named.namespaces;
  if (running.taken?.of !== of || running.taken.by !== by) running.taken = take(of, by);
  return running.taken;
}

function isSameServer({ server }: RemoteCluster, { kubeconfig }: NamedCluster): boolean {
  return !(kubeconfig instanceof AppError) && kubeconfig.server === server;
}

export class RemoteClusters {
  readonly #options: RemoteClustersOptions;
  readonly #secrets: Reflector;
  readonly #running = new Map<string, Running>();
  readonly #closing = new Set<Promise<void>>();
  readonly #settled = Promise.withResolvers<void>();
  #named: ReadonlyMap<string, NamedCluster> = new Map();
  #refused: readonly Diagnostic[] = [];
  #closed = false;

  constructor(options: RemoteClustersOptions) {
    this.#options = options;
    const { api, logger, namespace, limits } = options;
    this.#secrets = new Reflector({
      api,
      kind: remoteSecretKind(namespace),
      logger,
      onChange: () => this.#read(),
      onProblem: () => this.#changed(),
      ...(limits === undefined ? {} : { limits }),
    });
  }

  /** Resolves once the Secrets and each cluster that they name have been read. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** Those that have been read, by name. */
  get current(): readonly OtherCluster[] {
    return [...this.#running]
      .filter(([, { cluster }]) => cluster.snapshot !== undefined)
      .map(([name, running]) => ({ name, objects: takenOf(running).objects }))
      .sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  get diagnostics(): readonly Diagnostic[] {
    const found = [...this.#running.values()].flatMap(({ cluster }) => cluster.snapshot?.diagnostics ?? []);
    const away = [...this.#running].flatMap(([name, running]) => awayDiagnostic(name, running));
    return [...this.#unread(), ...this.#refused, ...away, ...found];
  }

  get statuses(): readonly RemoteClusterStatus[] {
    return [...this.#named.values()]
      .map((named): RemoteClusterStatus => {
        const { name, secret, kubeconfig } = named;
        const running = this.#running.get(name);
        const refusal = kubeconfig instanceof AppError ? kubeconfig.message : undefined;
        const by = running?.named.namespaces;
        const namespaces = by === undefined ? undefined : [...by].sort();
        if (running === undefined)
          return { name, secret, server: undefined, state: "refused", since: undefined, problem: refusal, namespaces, pods: 0 };
        const { state, since, problem } = running.cluster.status;
        const pods = takenOf(running).objects.filter(({ kind }) => kind === "Pod").length;
        return { name, secret, server: running.cluster.server, state, since, problem: refusal ?? problem, namespaces, pods };
      })
      .sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  /** Those that have been read, each with its API server and the namespaces there that it may speak for. */
  get readers(): readonly { readonly name: string; readonly api: KubernetesApi; readonly namespaces: readonly string[] }[] {
    return [...this.#running].flatMap(([name, running]) => {
      if (running.cluster.snapshot === undefined) return [];
      return [{ name, api: running.cluster.api, namespaces: takenOf(running).namespaces }];
    });
  }

  /** Who reviews a cluster's tokens, and for which namespaces it may speak; undefined for a cluster that no Secret names. */
  voucher(name: string): { readonly reviewer: TokenReviewer; readonly namespaces: ReadonlySet<string> | undefined } | undefined {
    const running = this.#running.get(name);
    return running === undefined ? undefined : { reviewer: running.cluster.reviewer, namespaces: running.named.namespaces };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const name of [...this.#running.keys()]) this.#end(name);
    await Promise.all([this.#secrets.close(), ...this.#closing]);
  }

  /** What the Secrets say now. What can no longer be taken keeps its last form, and is told. */
  #read(): void {
    if (this.#closed) return;
    const { clusters, diagnostics } = namedClusters([...(this.#secrets.objects?.values() ?? [])], this.#options.own);
    this.#named = clusters;
    this.#refused = diagnostics;
    for (const name of [...this.#running.keys()]) if (!clusters.has(name)) this.#end(name);
    for (const named of clusters.values()) this.#put(named);
    this.#changed();
  }

  #put(named: NamedCluster): void {
    const { name, kubeconfig, digest } = named;
    if (kubeconfig instanceof AppError) return;
    const running = this.#running.get(name);
    if (running !== undefined && !isSameServer(running.cluster, named)) {
      // Another server is another cluster: what the first one said is no word of this one's.
      this.#end(name);
    } else if (running !== undefined) {
      const same = running.named.digest === digest;
      running.named = named;
      if (!same) running.cluster.replace(kubeconfig);
      return;
    }
    const { logger, limits } = this.#options;
    logger.log("info", "a cluster is taken in", { cluster: name, server: kubeconfig.server, secret: named.secret });
    const cluster = new RemoteCluster({
      name,
      kubeconfig,
      logger,
      onChange: () => this.#changed(),
      ...(limits === undefined ? {} : { limits }),
    });
    this.#running.set(name, { named, cluster, taken: undefined });
  }

  #end(name: string): void {
    const running = this.#running.get(name);
    this.#running.delete(name);
    if (running === undefined) return;
    this.#options.logger.log("info", "a cluster is given up: nothing of it is in force any more", { cluster: name });
    const closing = running.cluster.close().finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  #changed(): void {
    if (this.#closed) return;
    const all = [...this.#running.values()];
    if (this.#secrets.objects !== undefined && all.every(({ cluster }) => cluster.snapshot !== undefined)) this.#settled.resolve();
    this.#options.onChange();
  }

  #unread(): readonly Diagnostic[] {
    const { problem } = this.#secrets;
    if (problem === undefined) return [];
    const { namespace } = this.#options;
    return [
      {
        code: "GAR0360",
        message: `the Secrets that name other clusters cannot be read: ${problem}`,
        place: { file: `Namespace ${namespace}`, line: 0, column: 0 },
        help: `give the control plane's account a Role in namespace \`${namespace}\` for list and watch of Secrets (the chart's \`multiCluster\`)`,
      },
    ];
  }
}

function awayDiagnostic(name: string, { named, cluster }: Running): readonly Diagnostic[] {
  const { state, problem } = cluster.status;
  if (problem === undefined) return [];
  const help =
    state === "connecting"
      ? "until it has been read, nothing of it is in force and its tokens are refused"
      : "what was seen of it last is in force, and its tokens cannot be reviewed";
  const place = { file: `Secret ${named.secret}`, line: 0, column: 0 };
  return [{ code: "GAR0363", message: `cluster \`${name}\` cannot be watched: ${problem}`, place, help }];
}
