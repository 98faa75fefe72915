/**
 * What each replica knows of the proxies that are connected to it, for the one that writes statuses: a Lease of each replica, renewed
 * while it lives, with its counts. One that is not renewed counts no more, and is taken away.
 */
import { performance } from "node:perf_hooks";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { type KubernetesApi, MERGE_PATCH } from "./api.ts";
import { type ApiObject, isPlain } from "./api-objects.ts";
import { Coalesced } from "./coalesced.ts";
import { microTime } from "./lease.ts";
import { Reflector } from "./reflector.ts";
import { REPLICA_LABEL, replicaLeases } from "./watched-kinds.ts";

/** Of one policy: the proxies that it is for and that are connected, and how many of them run the newest state. */
export interface ProxyCount {
  readonly connected: number;
  readonly enforced: number;
}

/** By `Kind NAMESPACE/NAME`. */
export type ProxyCounts = ReadonlyMap<string, ProxyCount>;

export interface ReplicaReportsOptions {
  readonly api: KubernetesApi;
  readonly logger: Logger;
  readonly namespace: string;
  /** A DNS name unlike any other replica's. */
  readonly replica: string;
  /** `HOST:PORT` where the other replicas reach it; undefined where they cannot. */
  readonly address: string | undefined;
  /** This replica's own. */
  readonly counts: () => ProxyCounts;
  /** Whether this replica is the one that writes statuses, and takes away what dead ones left. */
  readonly mayWrite: () => boolean;
  /** When another's counts are others. */
  readonly onChange: () => void;
}

/** The other replicas. */
export interface KnownReplicas {
  /** `HOST:PORT` of each that lives, by its name; undefined for one that does not say. */
  readonly addresses: ReadonlyMap<string, string | undefined>;
  /** Why there may be more; undefined where these are all. */
  readonly doubt: string | undefined;
}

/** Where nothing is known of them. */
export const DOUBT = "any other replica: the API server does not say now which there are";
const COUNTS = "garrison.dev/proxies";
const ADDRESS = "garrison.dev/address";
/** Kubernetes takes 256 KiB of annotations. */
const MAX_COUNTS = 200 * 1024;
const REPORT_MS = 2_000;
const RENEW_MS = 4_000;
/** Without a renewal for so long, a replica is gone. */
const STALE_MS = 12_000;

function write(counts: ProxyCounts): string {
  const some = [...counts].filter(([, { connected }]) => connected > 0);
  return JSON.stringify(Object.fromEntries(some.map(([key, { connected, enforced }]) => [key, [connected, enforced]])));
}

function annotation({ body }: ApiObject, name: string): string | undefined {
  const annotations = isPlain(body.metadata) ? body.metadata.annotations : undefined;
  const text = isPlain(annotations) ? annotations[name] : undefined;
  return typeof text === "string" ? text : undefined;
}

/** What is not understood counts nothing: it is another version's. */
function read(lease: ApiObject): ProxyCounts {
  const text = annotation(lease, COUNTS);
  let value: unknown;
  try {
    value = text === undefined ? undefined : JSON.parse(text);
  } catch {
    return new Map();
  }
  return new Map(
    Object.entries(isPlain(value) ? value : {}).flatMap(([key, pair]): [string, ProxyCount][] => {
      const [connected, enforced] = Array.isArray(pair) ? (pair as readonly unknown[]) : [];
      return typeof connected === "number" && typeof enforced === "number" ? [[key, { connected, enforced }]] : [];
    }),
  );
}

/** The counts of several replicas together. */
export function sumCounts(all: readonly ProxyCounts[]): ProxyCounts {
  const sums = new Map<string, ProxyCount>();
  for (const [key, { connected, enforced }] of all.flatMap((counts) => [...counts])) {
    const before = sums.get(key) ?? { connected: 0, enforced: 0 };
    sums.set(key, { connected: before.connected + connected, enforced: before.enforced + enforced });
  }
  return sums;
}

export class ReplicaReports {
  readonly #options: ReplicaReportsOptions;
  readonly #path: string;
  readonly #reflector: Reflector;
  readonly #writer: Coalesced;
  readonly #renewal: NodeJS.Timeout;
  /** When each replica's Lease was seen to change, by its version. */
  readonly #seen = new Map<string, { readonly version: string; readonly at: number }>();

  constructor(options: ReplicaReportsOptions) {
    this.#options = options;
    const { api, logger, namespace } = options;
    this.#path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
    this.#writer = new Coalesced({ what: "reporting to the other replicas", work: () => this.#report(), logger, intervalMs: REPORT_MS });
    this.#reflector = new Reflector({ api, kind: replicaLeases(namespace), logger, onChange: () => this.#changed() });
    this.#renewal = setInterval(() => this.refresh(), RENEW_MS).unref();
    this.refresh();
  }

  /** This replica's counts may be others. */
  refresh(): void {
    this.#writer.ask();
  }

  /** The replicas that live, with this one; undefined before they were ever seen. */
  get alive(): ReadonlySet<string> | undefined {
    if (this.#reflector.objects === undefined) return undefined;
    const living = this.#leases(({ age }) => age < STALE_MS).map(({ metadata }) => metadata.name);
    return new Set([this.#options.replica, ...living]);
  }

  /** The counts of the others that live. */
  get others(): readonly ProxyCounts[] {
    return this.#others.map(read);
  }

  /**
   * Where the others that live are reached, by their names; undefined for one that does not say. While the API server does not tell of this one's own
   * renewals, it does not tell of theirs: then it is doubted, and all that were ever seen count.
   */
  get known(): KnownReplicas {
    const { replica } = this.#options;
    const isTold = this.#leases(({ name, age }) => name === replica && age < STALE_MS).length > 0;
    const others = isTold ? this.#others : this.#leases(({ name }) => name !== replica);
    const addresses = new Map(others.map((lease) => [lease.metadata.name, annotation(lease, ADDRESS)]));
    return { addresses, doubt: isTold ? undefined : DOUBT };
  }

  get #others(): readonly ApiObject[] {
    return this.#leases(({ name, age }) => name !== this.#options.replica && age < STALE_MS);
  }

  /** Takes its own Lease away. */
  async close(): Promise<void> {
    clearInterval(this.#renewal);
    await Promise.all([this.#writer.close(), this.#reflector.close()]);
    const { api, replica } = this.#options;
    await api.call("DELETE", `${this.#path}/${replica}`).catch(() => undefined);
  }

  /** When a Lease was renewed counts from here on, whoever writes statuses. */
  #changed(): void {
    this.#leases(() => true);
    this.#options.onChange();
  }

  #leases(chosen: (lease: { readonly name: string; readonly age: number }) => boolean): readonly ApiObject[] {
    const now = performance.now();
    return [...(this.#reflector.objects?.values() ?? [])].filter(({ metadata: { name, resourceVersion } }) => {
      const known = this.#seen.get(name);
      const at = known?.version === resourceVersion ? known.at : now;
      this.#seen.set(name, { version: resourceVersion, at });
      return chosen({ name, age: now - at });
    });
  }

  async #report(): Promise<void> {
    const { api, namespace, replica, address, counts, mayWrite, onChange, logger } = this.#options;
    const text = write(counts());
    if (text.length > MAX_COUNTS)
      logger.log("warn", "there are too many policies to report on: statuses count this replica's proxies only where it writes them");
    const annotations = { [COUNTS]: text.length > MAX_COUNTS ? "{}" : text, ...(address === undefined ? {} : { [ADDRESS]: address }) };
    const metadata = { name: replica, namespace, labels: { [REPLICA_LABEL]: "true" }, annotations };
    const spec = { holderIdentity: replica, leaseDurationSeconds: STALE_MS / 1000, renewTime: microTime(new Date()) };
    const body = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata, spec };
    const { status } = await api.call("PATCH", `${this.#path}/${replica}`, body, MERGE_PATCH);
    const answer = status === 404 ? await api.call("POST", this.#path, body) : { status };
    if (answer.status !== 200 && answer.status !== 201) throw new AppError("unavailable", `the API server answers ${answer.status}`);
    if (!mayWrite()) return;
    await this.#sweep();
    // One may have gone, which no event tells.
    onChange();
  }

  async #sweep(): Promise<void> {
    const { api, replica } = this.#options;
    for (const { metadata } of this.#leases(({ name, age }) => name !== replica && age >= 2 * STALE_MS)) {
      await api.call("DELETE", `${this.#path}/${metadata.name}`);
      this.#seen.delete(metadata.name);
    }
  }
}
