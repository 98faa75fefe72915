/** What a control plane tells of itself, its workloads and its policies. */
import { formatDiagnostic, severityOf } from "../core/diagnostic.ts";
import type { WorkloadHealth } from "../policy/model.ts";
import type { XdsConnection } from "../xds/connection.ts";
import type { MeshView } from "./mesh-state.ts";
import { formatProxyView } from "./publisher.ts";

export interface ProxyStatus {
  readonly kind: string;
  readonly address: string;
  readonly userAgent: string;
  readonly variant: string;
  /** Milliseconds since the Unix epoch. */
  readonly connectedAt: number;
  /** `acked`: runs the newest state. */
  readonly state: string;
  /** What the proxy refused, and why; empty where it refused nothing. */
  readonly refused: readonly { readonly names: readonly string[]; readonly message: string }[];
}

export interface WorkloadStatus {
  readonly workload: string;
  readonly identity: string;
  readonly address: string;
  readonly proxies: readonly ProxyStatus[];
  /** Of one whose agent says how its application is. */
  readonly health?: WorkloadHealth;
}

export interface PolicyStatus {
  /** `Kind NAMESPACE/NAME`. */
  readonly policy: string;
  /** `valid`; `kept` where its last valid form is in force, since the present one is broken; `closed` where its only form is invalid. */
  readonly state: "valid" | "kept" | "closed";
  readonly workloads: number;
  /** Workloads whose every connected proxy, of at least one, runs the newest state. */
  readonly enforced: number;
}

export interface MeshStatus {
  readonly generation: number;
  readonly workloads: readonly WorkloadStatus[];
  readonly policies: readonly PolicyStatus[];
  readonly diagnostics: readonly { readonly severity: string; readonly text: string }[];
}

function proxyStatus(kind: string, connection: XdsConnection): ProxyStatus {
  const { address, userAgent, variant, connectedAt, state, types } = connection;
  const refused = types.flatMap(({ rejected, nacked }) =>
    rejected.length > 0 && nacked !== undefined ? [{ names: rejected, message: nacked.message }] : [],
  );
  return { kind, address, userAgent, variant, connectedAt, state, refused };
}

/** The status of a mesh with the streams that are open. */
export function meshStatus(mesh: MeshView, connections: readonly XdsConnection[]): MeshStatus {
  const byKey = Map.groupBy(connections, ({ key }) => key);
  const proxiesOf = (workload: string): readonly ProxyStatus[] =>
    (["envoy", "embedded"] as const).flatMap((kind) =>
      (byKey.get(formatProxyView({ workload, kind })) ?? []).map((connection) => proxyStatus(kind, connection)),
    );
  const workloads = [...mesh.snapshot.workloads.values()].map(({ key, identity, address, health }) => ({
    workload: key,
    identity,
    address,
    proxies: proxiesOf(key),
    ...(health === undefined ? {} : { health }),
  }));
  const upToDate = new Set(
    workloads
      .filter(({ proxies }) => proxies.length > 0 && proxies.every(({ state }) => state === "acked"))
      .map(({ workload }) => workload),
  );
  return {
    generation: mesh.generation,
    workloads,
    policies: mesh.statuses.map(({ object, closed, workloads: selected }) => ({
      policy: object,
      state: closed ? "closed" : mesh.kept.has(object) ? "kept" : "valid",
      workloads: selected.length,
      enforced: selected.filter((workload) => upToDate.has(workload)).length,
    })),
    diagnostics: mesh.diagnostics.map((diagnostic) => ({ severity: severityOf(diagnostic), text: formatDiagnostic(diagnostic) })),
  };
}
