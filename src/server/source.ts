/** Where the control plane's configuration comes from, and who knows its service accounts' tokens. */
import { resolve } from "node:path";
import type { TokenVerifier } from "../ca/authenticators.ts";
import { type Diagnostic, type DiagnosticCode, formatDiagnostic, severityOf } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { brokenMeshConfig } from "../sources/broken-mesh-config.ts";
import { watchFolder } from "../sources/folder-watcher.ts";
import { type KubernetesApi, openKubernetesApi } from "../sources/kubernetes/api.ts";
import { type ClusterSource, watchCluster } from "../sources/kubernetes/cluster-source.ts";
import type { RemoteClusterStatus, RemoteClusters } from "../sources/kubernetes/remote/remote-clusters.ts";
import { TokenReviewer } from "../sources/kubernetes/token-review.ts";
import { watchedKinds } from "../sources/kubernetes/watched-kinds.ts";
import type { ConfigurationSnapshot } from "../sources/snapshot.ts";
import { type OwnClusterStatus, ownStatus } from "./cluster/cluster-status.ts";
import { ClusterTokens } from "./cluster/cluster-tokens.ts";
import { OtherClusters, type OtherClustersPlace } from "./cluster/other-clusters.ts";
import type { Configuration } from "./mesh-state.ts";

export type ConfigurationOrigin =
  | { readonly kind: "folder"; readonly folder: string }
  /** `file`: a kubeconfig; undefined takes the usual one, or the pod's own account. */
  | { readonly kind: "kubernetes"; readonly file: string | undefined };

export interface SourceOptions {
  readonly logger: Logger;
  /** Takes each configuration, the first one before `openSource` resolves. */
  readonly apply: (configuration: Configuration) => void;
  /** The issuer of tokens where there is no cluster. */
  readonly tokens: TokenVerifier;
  /** Where the mesh's configuration is. */
  readonly rootNamespace: string;
  /** Undefined without a cluster. */
  readonly api: KubernetesApi | undefined;
  /** The name of the own cluster, and where others are named; without, there is but one. `never`: accounts for which those do not vouch. */
  readonly clusters: { readonly own: string; readonly others: OtherClustersPlace | undefined; readonly never: ReadonlySet<string> };
  /** Ends the wait for a cluster. */
  readonly signal?: AbortSignal;
}

/** A cluster in which more than reading is to be done. */
export interface OpenedCluster {
  readonly api: KubernetesApi;
  readonly source: ClusterSource;
  /** Undefined where there are no others. */
  readonly others: RemoteClusters | undefined;
}

export interface OpenedSource {
  /** For the log. */
  readonly name: string;
  readonly tokens: TokenVerifier;
  /** Takes in these Secrets, by `NAMESPACE/NAME`, and no others; a folder has all of its own. */
  wantSecrets(names: ReadonlySet<string>): void;
  /** Undefined for a folder. */
  readonly cluster: OpenedCluster | undefined;
  /** Undefined for a folder. */
  readonly ownCluster: string | undefined;
  /** All clusters of the mesh, the own one first; none for a folder. */
  clusters(): readonly (RemoteClusterStatus | OwnClusterStatus)[];
  close(): Promise<void>;
}

/** What makes a whole file unusable. */
const UNUSABLE: ReadonlySet<DiagnosticCode> = new Set(["GAR0001", "GAR0010"]);

/**
 * At a start there is no last good state: what a file that cannot be read would deny, or a policy that does not tell which it
 * is, is unknown, so nothing is served. Throws `invalid-configuration`.
 */
export function refuseUnknown({ diagnostics, hidden }: ConfigurationSnapshot): void {
  const unusable = diagnostics.find(({ code }) => UNUSABLE.has(code)) ?? hidden.find((each) => severityOf(each) === "error");
  if (unusable === undefined) return;
  throw new AppError(
    "invalid-configuration",
    `the policies of a file are unknown, so nothing can be served\n${formatDiagnostic(unusable)}`,
    {
      help: "mend the file, or take it out of the folder; once started, a broken edit keeps the last good state",
    },
  );
}

/** What a mesh's configuration that is invalid would say of every proxy is unknown. Throws `invalid-configuration`. */
export function refuseBrokenMesh(configuration: ConfigurationSnapshot, rootNamespace: string): void {
  const broken = brokenMeshConfig(configuration, rootNamespace);
  if (broken !== undefined) throw refusedMesh(broken);
}

export function refusedMesh(diagnostic: Diagnostic): AppError {
  const message = `the mesh's configuration cannot be taken, so nothing can be served\n${formatDiagnostic(diagnostic)}`;
  return new AppError("invalid-configuration", message, {
    help: "mend the ConfigMap; once started, a broken edit keeps the last good state",
  });
}

async function openFolder(folder: string, { logger, apply, tokens, rootNamespace }: SourceOptions): Promise<OpenedSource> {
  const watcher = await watchFolder({ folder: resolve(folder), logger, rootNamespace, onSnapshot: apply });
  try {
    refuseUnknown(watcher.current);
  } catch (error) {
    await watcher.close();
    throw error;
  }
  return {
    name: folder,
    tokens,
    wantSecrets: () => undefined,
    cluster: undefined,
    ownCluster: undefined,
    clusters: () => [],
    close: () => watcher.close(),
  };
}

/** The own cluster vouches for its own service accounts, and others for theirs: no token of another issuer is taken. */
async function openCluster(api: KubernetesApi, options: SourceOptions): Promise<OpenedSource> {
  const { logger, apply, rootNamespace, signal, clusters } = options;
  const ended = signal === undefined ? {} : { signal };
  const { own, others: place, never } = clusters;
  const others = place && new OtherClusters({ api, place, own, rootNamespace, logger, apply, ...ended });
  const close = async (): Promise<void> => {
    await others?.close();
    await cluster?.close();
  };
  const onSnapshot = others === undefined ? apply : (snapshot: ConfigurationSnapshot) => others.take(snapshot);
  let cluster: ClusterSource | undefined;
  try {
    cluster = await watchCluster({ api, logger, kinds: watchedKinds(rootNamespace), onSnapshot, ...ended });
    refuseBrokenMesh(cluster.current, rootNamespace);
    await others?.start();
  } catch (error) {
    await close();
    throw error;
  }
  const source = cluster;
  const reviewer = new TokenReviewer(api);
  return {
    name: "kubernetes",
    tokens: new ClusterTokens({ name: own, own: reviewer, others: others?.clusters, never }),
    wantSecrets: (names) => source.wantSecrets(names),
    cluster: { api, source, others: others?.clusters },
    ownCluster: own,
    clusters: () => [ownStatus(own, source), ...(others?.clusters.statuses ?? [])],
    close,
  };
}

/** Opens the source and has its first configuration applied. Throws what the operator must put right, and leaves nothing open. */
export async function openSource(origin: ConfigurationOrigin, options: SourceOptions): Promise<OpenedSource> {
  if (origin.kind === "folder") return openFolder(origin.folder, options);
  return openCluster(options.api ?? (await openKubernetesApi({ file: origin.file })), options);
}
