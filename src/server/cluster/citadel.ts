/**
 * Citadel mode: a Secret with a key and certificates for each service account, for applications that know nothing of agents. What there is to do follows from the
 * Secrets themselves, so that another replica goes on where one ended. One replica alone writes, at a bounded rate.
 */
import type { Authority } from "../../ca/authority.ts";
import { Backoff } from "../../core/backoff.ts";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import { inTurns } from "../../core/in-turns.ts";
import type { Logger } from "../../core/logger.ts";
import { formatSpiffeId } from "../../identity/spiffe-id.ts";
import { type ApiAnswer, type KubernetesApi, MERGE_PATCH } from "../../sources/kubernetes/api.ts";
import type { ClusterSource } from "../../sources/kubernetes/cluster-source.ts";
import { Coalesced } from "../../sources/kubernetes/coalesced.ts";
import type { Account } from "../../sources/kubernetes/found-objects.ts";
import { isEnding, OF_KUBERNETES } from "../../sources/kubernetes/namespaces.ts";
import { Reflector } from "../../sources/kubernetes/reflector.ts";
import { accountSecretKind } from "../../sources/kubernetes/watched-kinds.ts";
import { buildCsr, generateKey } from "../../x509/csr-builder.ts";
import { AccountPlanner, type Step } from "./account-plan.ts";
import { type AccountFiles, newSecret, patchOf, preconditions, secretNameOf } from "./account-secret.ts";

export interface CitadelOptions {
  readonly api: KubernetesApi;
  readonly source: Pick<ClusterSource, "accounts">;
  readonly authority: Authority;
  /** Namespaces; `*` is every one. */
  readonly namespaces: readonly string[];
  /** SPIFFE IDs that no Secret ever gets. */
  readonly never: ReadonlySet<string>;
  /** Whether this replica is the one to write. */
  readonly mayWrite: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds between two rounds. */
  readonly intervalMs?: number;
  /** Milliseconds between two looks without a change, at what is to be renewed or tried again. */
  readonly lookMs?: number;
}

/** For the ledger. */
const CALLER = "citadel";
/** Secrets that are written in one round, and milliseconds between two rounds. */
const ROUND = 20;
const INTERVAL_MS = 1_000;
const LOOK_MS = 5_000;
/** So long the watch has to tell of a write. */
const SEEN_MS = 10_000;
const AGAIN = { firstMs: 2_000, maxMs: 300_000, random: Math.random } as const;

/** A Secret that is left alone until a moment, as long as it is this version of it. */
interface Pause {
  readonly version: string;
  readonly until: number;
  readonly failures: number;
  readonly backoff: Backoff;
}

function versionOf({ secret }: Step): string {
  return secret?.metadata.resourceVersion ?? "";
}

function refused({ status }: ApiAnswer): AppError {
  const code = status === 429 || status >= 500 ? "unavailable" : "permission-denied";
  return new AppError(code, `the API server answers ${status}`);
}

export class Citadel {
  readonly #options: CitadelOptions;
  readonly #planner: AccountPlanner;
  readonly #worker: Coalesced;
  readonly #timer: NodeJS.Timeout;
  /** By namespace, empty for all; only while this replica may write, so that no other has the keys in its memory. */
  readonly #watched = new Map<string, Reflector>();
  readonly #pauses = new Map<string, Pause>();
  #busy = true;

  constructor(options: CitadelOptions) {
    this.#options = options;
    const { authority, logger, intervalMs = INTERVAL_MS, lookMs = LOOK_MS } = options;
    this.#planner = new AccountPlanner(authority);
    const what = "writing the Secrets of service accounts";
    this.#worker = new Coalesced({ what, work: (signal) => this.#round(signal), logger, intervalMs });
    this.#timer = setInterval(() => this.refresh(), lookMs).unref();
  }

  /** There are other accounts, roots or revocations, or this replica has become the one to write. */
  refresh(): void {
    this.#worker.ask();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#worker.close();
    await this.#unwatch();
  }

  async #unwatch(): Promise<void> {
    const reflectors = [...this.#watched.values()];
    this.#watched.clear();
    this.#pauses.clear();
    await Promise.all(reflectors.map((each) => each.close()));
  }

  #watch(): void {
    const { api, logger, namespaces } = this.#options;
    for (const namespace of namespaces.includes("*") ? [""] : namespaces) {
      if (this.#watched.has(namespace)) continue;
      const onChange = (): void => this.refresh();
      this.#watched.set(namespace, new Reflector({ api, kind: accountSecretKind(namespace), logger, onChange }));
    }
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { mayWrite } = this.#options;
    if (!mayWrite()) return this.#unwatch();
    this.#watch();
    const due = (await this.#steps()).filter((step) => !this.#isPaused(step));
    for (const step of inTurns(due, ({ key }) => key.split("/", 1)[0] ?? "").slice(0, ROUND)) {
      if (signal.aborted || !mayWrite()) return;
      await this.#take(step);
    }
    // The others, and what a watch has told meanwhile.
    if (due.length > 0) this.refresh();
    this.#tell(due.length);
  }

  /** Once for each time that all is done. */
  #tell(due: number): void {
    if ([...this.#watched.values()].some(({ objects }) => objects === undefined)) return;
    if (due === 0 && this.#busy) {
      const later = [...this.#pauses.values()].filter(({ failures }) => failures > 0).length;
      const secrets = [...this.#watched.values()].reduce((sum, { objects }) => sum + (objects?.size ?? 0), 0);
      this.#options.logger.log("info", "the Secrets of service accounts are written", { secrets, refused: later });
    }
    this.#busy = due > 0;
  }

  async #steps(): Promise<readonly Step[]> {
    const { source, clock } = this.#options;
    const byNamespace = Map.groupBy(
      source.accounts().filter((account) => this.#mayHave(account)),
      ({ namespace }) => namespace,
    );
    const now = clock.now();
    const steps: Step[] = [];
    const present = new Set<string>();
    for (const [scope, { objects: secrets }] of this.#watched) {
      if (secrets === undefined) continue;
      const accounts = scope === "" ? [...byNamespace.values()].flat() : (byNamespace.get(scope) ?? []);
      steps.push(...(await this.#planner.plan({ accounts, secrets: new Map(secrets), now })));
    }
    for (const { key } of steps) present.add(key);
    for (const [key, { until }] of this.#pauses) if (!present.has(key) && now >= until) this.#pauses.delete(key);
    return steps;
  }

  #mayHave(account: Account): boolean {
    return !OF_KUBERNETES.has(account.namespace) && !this.#options.never.has(formatSpiffeId(this.#planner.identityOf(account)));
  }

  #isPaused(step: Step): boolean {
    const pause = this.#pauses.get(step.key);
    return pause !== undefined && pause.version === versionOf(step) && this.#options.clock.now() < pause.until;
  }

  /** Throws `unavailable` and `deadline-exceeded`, which are nobody's own trouble: then all wait. */
  async #take(step: Step): Promise<void> {
    try {
      await this.#do(step);
      const until = this.#options.clock.now() + SEEN_MS;
      this.#pauses.set(step.key, { version: versionOf(step), until, failures: 0, backoff: new Backoff(AGAIN) });
    } catch (thrown) {
      const error = AppError.from(thrown);
      if (error.code === "unavailable" || error.code === "deadline-exceeded") throw error;
      this.#putOff(step, error);
    }
  }

  /** The others go on. What is not there may just not have been told of yet: only the second time it is a Secret of another type. */
  #putOff(step: Step, { code, message }: AppError): void {
    const before = this.#pauses.get(step.key);
    const version = versionOf(step);
    const { failures, backoff } = before?.version === version ? before : { failures: 0, backoff: new Backoff(AGAIN) };
    this.#pauses.set(step.key, { version, backoff, failures: failures + 1, until: this.#options.clock.now() + backoff.next() });
    const tellAt = code === "already-exists" && step.kind === "create" ? 1 : 0;
    const fields = { secret: step.key, reason: message };
    this.#options.logger.log(failures === tellAt ? "warn" : "debug", "the Secret of a service account cannot be written", fields);
  }

  async #do({ kind, secret, account, why, key }: Step): Promise<void> {
    const { authority, logger } = this.#options;
    if (kind === "foreign") throw new AppError("already-exists", why);
    if (secret === undefined) {
      if (account !== undefined) await this.#create(account);
    } else if (kind === "remove" || account === undefined) {
      await this.#write("DELETE", secret.metadata, { apiVersion: "v1", kind: "DeleteOptions", preconditions: preconditions(secret) });
    } else {
      const files = kind === "roots" ? { "root-cert.pem": authority.rootsPem } : await this.#issue(account);
      await this.#write("PATCH", secret.metadata, patchOf(secret, files));
    }
    logger.log(kind === "renew" || kind === "roots" ? "debug" : "info", `the Secret of a service account: ${kind}`, { secret: key, why });
  }

  /** Tried without files first: no certificate is issued for a Secret that cannot be made. */
  async #create(account: Account): Promise<void> {
    if (await this.#post(account, {}, "?dryRun=All")) await this.#post(account, await this.#issue(account), "");
  }

  /** False where the namespace takes nothing new. */
  async #post(account: Account, files: Partial<AccountFiles>, query: string): Promise<boolean> {
    const path = `/api/v1/namespaces/${account.namespace}/secrets${query}`;
    const answer = await this.#options.api.call("POST", path, newSecret(account, files));
    if (answer.status === 201) return true;
    if (isEnding(answer)) return false;
    if (answer.status !== 409) throw refused(answer);
    throw new AppError("already-exists", `there is a Secret \`${secretNameOf(account)}\` of another type: it is left alone`);
  }

  /** Where the Secret is another by now, or gone, the watch tells. */
  async #write(method: "PATCH" | "DELETE", { namespace, name }: { readonly namespace: string; readonly name: string }, body: unknown) {
    const path = `/api/v1/namespaces/${namespace}/secrets/${name}`;
    const answer = await this.#options.api.call(method, path, body, method === "PATCH" ? MERGE_PATCH : undefined);
    if (![200, 202, 404, 409].includes(answer.status)) throw refused(answer);
  }

  /** By the steps of every other certificate (docs/issuance-cycle.md), with a new key. */
  async #issue(account: Account): Promise<AccountFiles> {
    const { authority, logger } = this.#options;
    const identity = this.#planner.identityOf(account);
    const uri = formatSpiffeId(identity);
    const key = generateKey();
    const issued = await authority.recorded(await authority.issue({ csr: buildCsr(key, uri), identity, ttlSeconds: 0, caller: CALLER }));
    const notAfter = new Date(issued.notAfter).toISOString();
    logger.log("info", "certificate issued", { identity: uri, by: CALLER, serial: issued.serial, notAfter });
    return {
      "key.pem": key.export({ type: "pkcs8", format: "pem" }).toString(),
      "cert-chain.pem": [issued.leaf, ...issued.intermediates].join(""),
      "root-cert.pem": issued.roots,
    };
  }
}
