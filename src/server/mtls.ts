/** `GET /v1/mtls`: what the mesh's modes are, and what the record says of those who come without identity. */
import { isIP } from "node:net";
import {
  type MtlsEvidence,
  mtlsByNamespace,
  type NamespaceMtls,
  type PlaintextCalls,
  planStrict,
  type StrictStep,
} from "../analyze/mtls.ts";
import { parseAuditFilter } from "../audit/query-text.ts";
import type { AuditStore } from "../audit/store.ts";
import type { Clock } from "../core/clock.ts";
import type { XdsConnection } from "../xds/connection.ts";
import type { AdminRoute } from "./admin.ts";
import type { MeshState } from "./mesh-state.ts";
import { parseProxyView } from "./publisher.ts";

/** The newest records that are looked at: of callers without identity, and of everybody. */
const MAX_PLAINTEXT = 200_000;
const MAX_SERVED = 20_000;
const DEFAULT_SINCE = "7d";

export interface MtlsAnswer {
  /** Milliseconds since the Unix epoch: from when on the record was looked at. */
  readonly since: number;
  /** There is more plaintext in the record than was looked at; the newest was. */
  readonly truncated: boolean;
  readonly namespaces: readonly NamespaceMtls[];
  readonly plan: readonly StrictStep[];
}

interface MtlsContext {
  readonly mesh: MeshState;
  readonly store: AuditStore;
  readonly clock: Clock;
  readonly connections: () => readonly XdsConnection[];
}

/** Calls that were served without identity, together by port and address. */
async function plaintextSince(
  store: AuditStore,
  since: number,
): Promise<{ readonly calls: readonly PlaintextCalls[]; readonly records: number }> {
  const calls = new Map<string, PlaintextCalls>();
  let records = 0;
  const filter = { since, caller: { kind: "none" }, effect: "allow", order: "newest", limit: MAX_PLAINTEXT } as const;
  for await (const { workload, port, sourceIp: told, time } of store.query(filter)) {
    records++;
    const sourceIp = isIP(told) === 0 ? "unknown" : told;
    const key = `${workload} ${port} ${sourceIp}`;
    const before = calls.get(key);
    calls.set(key, { workload, port, sourceIp, count: (before?.count ?? 0) + 1, last: Math.max(before?.last ?? 0, time) });
  }
  return { calls: [...calls.values()], records };
}

async function servedSince(store: AuditStore, since: number): Promise<ReadonlySet<string>> {
  const served = new Set<string>();
  for await (const { workload } of store.query({ since, effect: "allow", order: "newest", limit: MAX_SERVED })) served.add(workload);
  return served;
}

/** Answers `?since=TIME`, by default the last seven days. */
export function mtlsRoute({ mesh, store, clock, connections }: MtlsContext): AdminRoute {
  return async ({ url }): Promise<MtlsAnswer> => {
    const now = clock.now();
    const { since = 0 } = parseAuditFilter({ since: url.searchParams.get("since") ?? DEFAULT_SINCE }, now);
    const { calls, records } = await plaintextSince(store, since);
    const { current } = mesh;
    const evidence: MtlsEvidence = {
      plaintext: calls,
      served: await servedSince(store, since),
      proxies: new Set(connections().map(({ key }) => parseProxyView(key).workload)),
    };
    const namespaces = mtlsByNamespace(current, evidence);
    return { since, truncated: records === MAX_PLAINTEXT, namespaces, plan: planStrict(current, namespaces) };
  };
}
