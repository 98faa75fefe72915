/** One thing that Prometheus is told of a control plane's state, and what it is read from. */
import type { ELDHistogram } from "node:perf_hooks";
import type { AuditStore } from "../../audit/store.ts";
import type { Authority } from "../../ca/authority.ts";
import type { FederatedDomainStatus } from "../../ca/federation/federated-domain.ts";
import type { ServingCertificate } from "../../ca/serving.ts";
import type { Clock } from "../../core/clock.ts";
import type { WatchHealth } from "../../sources/kubernetes/reflector.ts";
import type { XdsConnection } from "../../xds/connection.ts";
import type { ClusterStatus } from "../cluster/cluster-status.ts";
import type { MeshState } from "../mesh-state.ts";

export interface MetricSources {
  readonly version: string;
  readonly clock: Clock;
  readonly authority: Authority;
  readonly serving: Pick<ServingCertificate, "status">;
  readonly mesh: MeshState;
  readonly store: Pick<AuditStore, "stats" | "bytes">;
  readonly connections: () => readonly XdsConnection[];
  /** Agents that follow the trust bundle. */
  readonly followers: () => number;
  /** None where the configuration is a folder. */
  readonly clusters: () => readonly ClusterStatus[];
  /** Of the own cluster's kinds; none where the configuration is a folder. */
  readonly watches: () => readonly WatchHealth[];
  /** Whether this replica does what only one may; undefined where the configuration is a folder. */
  readonly leads: () => boolean | undefined;
  readonly domains: () => readonly Pick<FederatedDomainStatus, "state">[];
  /** Delays of the event loop in nanoseconds, since it was asked for last. */
  readonly delays: ELDHistogram;
}

/** A value with its labels. */
export type Sample = { readonly value: number } & { readonly [label: string]: string | number };

export interface Reading {
  readonly kind: "gauge" | "counter";
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (sources: MetricSources) => readonly Sample[];
}

/** A number without labels. */
export function single(kind: Reading["kind"], name: string, help: string, read: (sources: MetricSources) => number): Reading {
  return { kind, name, help, labels: [], read: (sources) => [{ value: read(sources) }] };
}
