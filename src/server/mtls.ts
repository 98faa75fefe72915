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
/** Ports with an address that they served without identity. */
const MAX_CALLERS = 20_000;
const DEFAULT_SINCE = "7d";

export interface MtlsAnswer {
  /** Milliseconds since the Unix epoch: from when on the record was looked at. */
  readonly since: number;
  /** There is more plaintext in the record than was looked at; the newest was. */
  readonly truncated: boolean;
  /** Other replicas of the control plane that could not be asked, with the reason. */
  readonly unasked: readonly string[];
  readonly namespaces: readonly NamespaceMtls[];
  readonly plan: readonly StrictStep[];
}

/** What one replica of the control plane saw. */
export type ReplicaEvidence = MtlsEvidence & { readonly truncated: boolean };

/** What the others saw, and who of them could not be asked. */
export interface OthersEvidence {
  readonly evidence: readonly ReplicaEvidence[];
  readonly unasked: readonly string[];
}

interface EvidenceSources {
  readonly store: Pick<AuditStore, "query">;
  readonly connections: () => readonly XdsConnection[];
}

/** Sums of calls by port and address, of the first so many of these. */
class CallSums {
  readonly #sums = new Map<string, PlaintextCalls>();
  readonly #max: number;
  #isWhole = true;

  constructor(max: number) {
    this.#max = max;
  }

  add({ workload, port, sourceIp, count, last }: PlaintextCalls): void {
    const key = `${workload} ${port} ${sourceIp}`;
    const before = this.#sums.get(key);
    if (before === undefined && this.#sums.size >= this.#max) this.#isWhole = false;
    else this.#sums.set(key, { workload, port, sourceIp, count: (before?.count ?? 0) + count, last: Math.max(before?.last ?? 0, last) });
  }

  /** Nothing was left out. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  get calls(): readonly PlaintextCalls[] {
    return [...this.#sums.values()];
  }
}

/** What this replica's record and connections say. */
export async function evidenceSince({ store, connections }: EvidenceSources, since: number): Promise<ReplicaEvidence> {
  const sums = new CallSums(MAX_CALLERS);
  let looked = 0;
  const filter = { since, caller: { kind: "none" }, effect: "allow", order: "newest", limit: MAX_PLAINTEXT } as const;
  for await (const { workload, port, sourceIp: told, time } of store.query(filter)) {
    looked += 1;
    sums.add({ workload, port, sourceIp: isIP(told) === 0 ? "unknown" : told, count: 1, last: time });
  }
  const served = new Set<string>();
  for await (const { workload } of store.query({ since, effect: "allow", order: "newest", limit: MAX_SERVED })) served.add(workload);
  return {
    plaintext: sums.calls,
    served,
    proxies: new Set(connections().map(({ key }) => parseProxyView(key).workload)),
    truncated: looked === MAX_PLAINTEXT || !sums.isWhole,
  };
}

function together(all: readonly ReplicaEvidence[]): MtlsEvidence {
  const sums = new CallSums(Number.POSITIVE_INFINITY);
  for (const { plaintext } of all) for (const calls of plaintext) sums.add(calls);
  const union = (of: (one: ReplicaEvidence) => ReadonlySet<string>) => new Set(all.flatMap((one) => [...of(one)]));
  return {
    plaintext: sums.calls,
    served: union(({ served }) => served),
    proxies: union(({ proxies }) => proxies),
  };
}

interface MtlsContext extends EvidenceSources {
  readonly mesh: MeshState;
  readonly clock: Clock;
  /** Asks the other replicas. */
  readonly others: (since: number) => Promise<OthersEvidence>;
}

/** Answers `?since=TIME`, by default the last seven days. */
export function mtlsRoute({ mesh, clock, others, ...sources }: MtlsContext): AdminRoute {
  return async ({ url }): Promise<MtlsAnswer> => {
    const { since = 0 } = parseAuditFilter({ since: url.searchParams.get("since") ?? DEFAULT_SINCE }, clock.now());
    const [own, { evidence, unasked }] = await Promise.all([evidenceSince(sources, since), others(since)]);
    const all = [own, ...evidence];
    const { current } = mesh;
    const namespaces = mtlsByNamespace(current, together(all));
    const plan = planStrict(current, namespaces, { whole: unasked.length === 0 });
    return { since, truncated: all.some(({ truncated }) => truncated), unasked, namespaces, plan };
  };
}
