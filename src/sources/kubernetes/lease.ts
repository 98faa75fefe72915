/**
 * A Lease (`coordination.k8s.io/v1`): which of several replicas does what only one may do. Times are this machine's own, from one
 * moment to another: nobody's clock needs to be right. Whoever holds it stops before another may begin.
 */
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { ApiAnswer, KubernetesApi } from "./api.ts";
import { isPlain } from "./api-objects.ts";

export const LEASE_TIMES = {
  /** Milliseconds without a sign of its holder until another may take it. */
  duration: 12_000,
  /** After so long without a renewal its holder no longer acts. */
  deadline: 8_000,
  /** Between two renewals, and between two looks of the others. */
  renew: 2_000,
  retry: 2_000,
} as const;

export interface LeaseOptions {
  readonly api: KubernetesApi;
  readonly logger: Logger;
  readonly namespace: string;
  readonly name: string;
  /** Unlike any other replica's. */
  readonly holder: string;
  /** When it was got or lost. */
  readonly onChange: () => void;
  readonly times?: Partial<Record<keyof typeof LEASE_TIMES, number>>;
}

/** `metav1.MicroTime`. */
export function microTime(date: Date): string {
  return date.toISOString().replace("Z", "000Z");
}

interface Seen {
  readonly version: string;
  readonly at: number;
}

export class Lease {
  readonly #options: LeaseOptions;
  readonly #times: Readonly<Record<keyof typeof LEASE_TIMES, number>>;
  readonly #path: string;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  #seen: Seen | undefined;
  /** When the renewal that succeeded last was sent. */
  #renewed = Number.NEGATIVE_INFINITY;
  #told = false;
  #failing = false;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#times = { ...LEASE_TIMES, ...options.times };
    this.#path = `/apis/coordination.k8s.io/v1/namespaces/${options.namespace}/leases`;
    this.#done = this.#run();
  }

  /** Whether this replica is the one. */
  get held(): boolean {
    return performance.now() - this.#renewed < this.#times.deadline;
  }

  /** Gives it up, so that another need not wait. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#done;
    if (!this.held) return;
    this.#renewed = Number.NEGATIVE_INFINITY;
    await this.#release().catch(() => undefined);
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        await this.#turn();
        this.#failing = false;
      } catch (thrown) {
        this.#failed(AppError.from(thrown).message);
      }
      this.#tell();
      await sleep(this.held ? this.#times.renew : this.#times.retry, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Told once, until it can be looked at again. */
  #failed(reason: string): void {
    const { logger, name } = this.#options;
    logger.log(this.#failing ? "debug" : "warn", "the lease cannot be looked at: what only one replica may do is not done", {
      lease: name,
      reason,
    });
    this.#failing = true;
  }

  #tell(): void {
    const { held } = this;
    if (held === this.#told) return;
    this.#told = held;
    const { logger, holder, name, onChange } = this.#options;
    logger.log("info", held ? "this replica holds the lease" : "this replica holds the lease no more", { lease: name, holder });
    onChange();
  }

  async #turn(): Promise<void> {
    const { api, name } = this.#options;
    const { status, body } = await api.call("GET", `${this.#path}/${name}`);
    if (status === 404) return this.#write("POST", this.#path, undefined, 0);
    const { version, holder, transitions } = readLease({ status, body });
    if (this.#seen?.version !== version) this.#seen = { version, at: performance.now() };
    const free = holder === "" || performance.now() - this.#seen.at >= this.#times.duration;
    if (holder === this.#options.holder) return this.#write("PUT", `${this.#path}/${name}`, version, transitions);
    this.#renewed = Number.NEGATIVE_INFINITY;
    if (free) await this.#write("PUT", `${this.#path}/${name}`, version, transitions + 1);
  }

  /** Somebody else's write between the look and this one is a conflict: then nothing is held. */
  async #write(method: "POST" | "PUT", path: string, version: string | undefined, transitions: number): Promise<void> {
    const { api, holder } = this.#options;
    const sent = performance.now();
    const { status } = await api.call(method, path, this.#body(holder, version, transitions));
    if (status === 200 || status === 201) this.#renewed = sent;
    else if (status === 409) this.#renewed = Number.NEGATIVE_INFINITY;
    else throw new AppError("unavailable", `the API server answers ${status} to the lease`);
  }

  async #release(): Promise<void> {
    const { api, name, holder } = this.#options;
    const { version, holder: now, transitions } = readLease(await api.call("GET", `${this.#path}/${name}`));
    if (now === holder) await api.call("PUT", `${this.#path}/${name}`, this.#body("", version, transitions));
  }

  #body(holderIdentity: string, resourceVersion: string | undefined, leaseTransitions: number): unknown {
    const { namespace, name } = this.#options;
    return {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { namespace, name, ...(resourceVersion === undefined ? {} : { resourceVersion }) },
      spec: {
        holderIdentity,
        leaseDurationSeconds: Math.ceil(this.#times.duration / 1000),
        renewTime: microTime(new Date()),
        leaseTransitions,
      },
    };
  }
}

function readLease({ status, body }: ApiAnswer): { readonly version: string; readonly holder: string; readonly transitions: number } {
  const { metadata, spec = {} } = isPlain(body) ? body : {};
  if (status !== 200 || !isPlain(metadata) || !isPlain(spec) || typeof metadata.resourceVersion !== "string") {
    throw new AppError("unavailable", `the API server answers ${status} to the question for the lease`);
  }
  const { holderIdentity, leaseTransitions } = spec;
  return {
    version: metadata.resourceVersion,
    holder: typeof holderIdentity === "string" ? holderIdentity : "",
    transitions: typeof leaseTransitions === "number" ? leaseTransitions : 0,
  };
}
