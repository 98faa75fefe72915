/** What a control plane does in a cluster besides reading it and serving proxies. What only one replica may do, the holder of a Lease does. */
import type { Authority } from "../../ca/authority.ts";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/logger.ts";
import { controlPlaneIdentity } from "../../identity/control-plane.ts";
import { formatSpiffeId } from "../../identity/spiffe-id.ts";
import type { RotatingTlsMaterial } from "../../rpc/credentials.ts";
import { Lease } from "../../sources/kubernetes/lease.ts";
import { type KnownReplicas, ReplicaReports, sumCounts } from "../../sources/kubernetes/replica-reports.ts";
import { RootConfigMaps } from "../../sources/kubernetes/root-config-maps.ts";
import { WebhookBundles } from "../../sources/kubernetes/webhook-bundles.ts";
import type { AdsService } from "../../xds/service.ts";
import { formatHostPort } from "../listen.ts";
import type { MeshState } from "../mesh-state.ts";
import { countedHandlers } from "../metrics/counted.ts";
import type { Metrics } from "../metrics/metrics.ts";
import { EntrySweeper } from "../registration/sweeper.ts";
import type { OpenedCluster } from "../source.ts";
import { inject } from "../webhook/inject.ts";
import { validate } from "../webhook/validate.ts";
import { type AdmissionHandlers, serveWebhooks } from "../webhook/webhook-server.ts";
import { Citadel } from "./citadel.ts";
import { injectionOptions } from "./injection-options.ts";
import type { ClusterPlace } from "./place.ts";
import { proxyCounts } from "./proxy-counts.ts";
import { RemoteDuties } from "./remote-duties.ts";
import { StatusWriter } from "./status-writer.ts";

export interface ClusterDutiesOptions {
  readonly cluster: OpenedCluster;
  readonly place: ClusterPlace;
  /** This one's name. */
  readonly replica: string;
  /** `HOST:PORT` where the other replicas reach it; undefined where they cannot. */
  readonly address: string | undefined;
  /** How long a registered machine stays whose agent is away, in milliseconds. */
  readonly registrationGraceMs: number;
  readonly authority: Authority;
  readonly material: RotatingTlsMaterial;
  readonly mesh: MeshState;
  readonly ads: Pick<AdsService, "connections" | "onEvent">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, "review" | "serves">;
  /** SPIFFE IDs of control planes that may have certificates of every identity. */
  readonly registrationAuthorities: readonly string[];
}

export interface ClusterDuties {
  /** The other replicas that live. */
  readonly replicas: KnownReplicas;
  /** Whether this one holds the Lease, and does what only one may. */
  readonly leads: boolean;
  /** What cannot be kept up in another cluster, and why. */
  remoteProblems(name: string): readonly string[];
  close(): Promise<void>;
}

/** The name of our webhook configurations (the chart's webhooks.yaml), and of the Lease. */
const NAME = "garrison";

/** What is served to API servers, by the path of their webhook configurations. */
function handlersOf({ place, cluster, mesh }: ClusterDutiesOptions): AdmissionHandlers {
  const { injection } = place;
  if (injection === undefined) return { "/validate": validate };
  const options = injectionOptions(injection, place, cluster.others);
  const dnsCapture = (): boolean => mesh.current.snapshot.meshConfig.defaultConfig.dnsCapture ?? false;
  return { "/validate": validate, "/inject": inject((request) => ({ ...options(request), dnsCapture: dnsCapture() })) };
}

/** None where there are no other clusters. */
function startRemoteDuties(
  { cluster: { others }, place, authority, logger }: ClusterDutiesOptions,
  mayWrite: () => boolean,
): readonly RemoteDuties[] {
  if (others === undefined) return [];
  const webhooks = place.webhooks !== undefined && place.others?.controlPlane !== undefined;
  return [new RemoteDuties({ clusters: others, roots: () => authority.rootsPem, mayWrite, webhooks, logger })];
}

/** None where it is not asked for. */
function startCitadel(options: ClusterDutiesOptions, mayWrite: () => boolean): readonly Citadel[] {
  const { place, cluster, authority, clock, logger, registrationAuthorities } = options;
  if (place.citadel.length === 0) return [];
  const never = new Set([formatSpiffeId(controlPlaneIdentity(authority.trustDomain)), ...registrationAuthorities]);
  return [new Citadel({ ...cluster, namespaces: place.citadel, authority, never, mayWrite, clock, logger })];
}

/** Starts them. Throws `unavailable` where the webhooks cannot listen. */
export async function startClusterDuties(options: ClusterDutiesOptions): Promise<ClusterDuties> {
  const { cluster, place, replica, address, authority, material, mesh, ads, clock, logger } = options;
  const { api, source } = cluster;
  const { namespace } = place.service;
  const listen = place.webhooks;
  const handlers = countedHandlers(handlersOf(options), options.metrics);
  const webhooks = listen === undefined ? undefined : await serveWebhooks({ listen, material, handlers, logger });
  if (listen !== undefined && webhooks !== undefined)
    logger.log("info", "webhooks served", { listen: formatHostPort({ host: listen.host, port: webhooks.port }) });

  const lease: Lease = new Lease({ api, logger, namespace, name: NAME, holder: replica, onChange: () => refresh() });
  const mayWrite = (): boolean => lease.held;
  const roots = (): string => authority.rootsPem;
  const counts = () => proxyCounts(mesh.current, ads.connections());
  const reports: ReplicaReports = new ReplicaReports({
    api,
    logger,
    namespace,
    replica,
    address,
    counts,
    mayWrite,
    onChange: () => statuses.refresh(),
  });
  const all = () => sumCounts([counts(), ...reports.others]);
  const statuses: StatusWriter = new StatusWriter({ api, source, mesh: () => mesh.current, counts: all, mayWrite, clock, logger });
  const bundles = new WebhookBundles({ api, logger, name: NAME, roots, mayWrite });
  const namespaces = (): readonly string[] =>
    source.current.objects.filter(({ kind }) => kind === "Namespace").map(({ meta }) => meta.name);
  const rootMaps = new RootConfigMaps({ api, logger, namespaces, roots, mayWrite });
  const remote = startRemoteDuties(options, mayWrite);
  const citadel = startCitadel(options, mayWrite);
  const graceMs = options.registrationGraceMs;
  const sweeper = new EntrySweeper({ api, source, alive: () => reports.alive, mayWrite, graceMs, logger });
  const refresh = (): void => {
    for (const each of [statuses, bundles, rootMaps, ...remote, ...citadel]) each.refresh();
  };

  authority.onChange(refresh);
  source.onStatus(() => statuses.refresh());
  mesh.onChange(() => {
    statuses.refresh();
    for (const each of [rootMaps, ...remote, ...citadel]) each.refresh();
  });
  authority.revocations.onChange(() => {
    for (const each of citadel) each.refresh();
  });
  ads.onEvent(() => {
    statuses.refresh();
    reports.refresh();
  });
  return {
    get replicas() {
      return reports.known;
    },
    get leads() {
      return lease.held;
    },
    remoteProblems: (name) => remote.flatMap((each) => each.problems(name)),
    close: async () => {
      await Promise.all([statuses, bundles, rootMaps, reports, sweeper, ...remote, ...citadel].map((each) => each.close()));
      // Last: as long as this replica may still write, no other does.
      await lease.close();
      await webhooks?.close();
    },
  };
}
