/** Another cluster, watched by the kubeconfig of a Secret. */
import type { RequestOptions } from "node:https";
import type { Logger } from "../../../core/logger.ts";
import type { ConfigurationSnapshot } from "../../snapshot.ts";
import { HttpsApi, type KubernetesApi } from "../api.ts";
import { beginWatching, type ClusterSource } from "../cluster-source.ts";
import type { ReflectorOptions } from "../reflector.ts";
import { TokenReviewer } from "../token-review.ts";
import { REMOTE_KINDS } from "../watched-kinds.ts";
import type { RemoteKubeconfig } from "./kubeconfig.ts";

const LIMITS = {
  /** Bytes of one answer, which is a page of 500 objects. */
  body: 128 * 1024 * 1024,
  /** Objects of one kind. */
  objects: 100_000,
  /** Milliseconds for the review of a token: its caller waits, and others behind it. */
  reviewMs: 5_000,
} as const;

export interface RemoteClusterOptions {
  readonly name: string;
  readonly kubeconfig: RemoteKubeconfig;
  readonly logger: Logger;
  /** There is another snapshot, or another problem. */
  readonly onChange: () => void;
  readonly limits?: ReflectorOptions["limits"];
}

/** How it stands with a cluster. `connecting`: it was never read. `away`: what was seen last is in force. */
export type RemoteState = "connecting" | "connected" | "away";

function credentialsOf({ ca, serverName, credential }: RemoteKubeconfig): RequestOptions {
  const base = { ca, ...(serverName === undefined ? {} : { servername: serverName }) };
  return credential.kind === "token"
    ? { ...base, headers: { authorization: `Bearer ${credential.token.reveal()}` } }
    : { ...base, cert: credential.certificate, key: credential.key.reveal() };
}

function apiOf(kubeconfig: RemoteKubeconfig, callMs?: number): HttpsApi {
  const credentials = async (): Promise<RequestOptions> => credentialsOf(kubeconfig);
  return new HttpsApi({ server: kubeconfig.server, credentials, maxBody: LIMITS.body, ...(callMs === undefined ? {} : { callMs }) });
}

/** One kubeconfig in use. */
interface Watch {
  readonly api: KubernetesApi;
  readonly source: ClusterSource;
  readonly reviewer: TokenReviewer;
  snapshot: ConfigurationSnapshot | undefined;
  close(): Promise<void>;
}

export class RemoteCluster {
  readonly #options: RemoteClusterOptions;
  #server: string;
  #watch: Watch;
  /** By another kubeconfig: it takes the place of the first once it has been read. */
  #next: Watch | undefined;
  #state: RemoteState = "connecting";
  #since = Date.now();

  constructor(options: RemoteClusterOptions) {
    this.#options = options;
    this.#server = options.kubeconfig.server;
    this.#watch = this.#open(options.kubeconfig);
  }

  get server(): string {
    return this.#server;
  }

  /** What was seen last; undefined before the first. */
  get snapshot(): ConfigurationSnapshot | undefined {
    return this.#watch.snapshot;
  }

  /** By the kubeconfig that has shown the whole. */
  get api(): KubernetesApi {
    return this.#watch.api;
  }

  /** By the newest kubeconfig. */
  get reviewer(): TokenReviewer {
    return (this.#next ?? this.#watch).reviewer;
  }

  /** `since` is in milliseconds since the Unix epoch. */
  get status(): { readonly state: RemoteState; readonly since: number; readonly problem: string | undefined } {
    return { state: this.#state, since: this.#since, problem: (this.#next ?? this.#watch).source.problem };
  }

  /** Other credentials for the same server. What was seen stays in force until they have shown the whole. */
  replace(kubeconfig: RemoteKubeconfig): void {
    this.#server = kubeconfig.server;
    const before = this.#next;
    this.#next = this.#open(kubeconfig);
    void before?.close();
    this.#changed();
  }

  async close(): Promise<void> {
    await Promise.all([this.#watch.close(), this.#next?.close()]);
  }

  #open(kubeconfig: RemoteKubeconfig): Watch {
    const { name, logger, limits } = this.#options;
    const [api, reviews] = [apiOf(kubeconfig), apiOf(kubeconfig, LIMITS.reviewMs)];
    const ended = new AbortController();
    const { source, first } = beginWatching({
      api,
      kinds: REMOTE_KINDS,
      cluster: name,
      logger: { log: (level, message, fields) => logger.log(level, message, { cluster: name, ...fields }) },
      onSnapshot: (snapshot) => this.#took(watch, snapshot),
      onProblem: () => this.#changed(),
      signal: ended.signal,
      limits: { objects: LIMITS.objects, ...limits },
    });
    // Its end is told by `close`; nothing else ends it.
    first.catch(() => undefined);
    const watch: Watch = {
      api,
      source,
      reviewer: new TokenReviewer(reviews),
      snapshot: undefined,
      close: async () => {
        ended.abort();
        await source.close();
        for (const each of [api, reviews]) each.close();
      },
    };
    return watch;
  }

  #took(watch: Watch, snapshot: ConfigurationSnapshot): void {
    watch.snapshot = snapshot;
    if (watch === this.#next) {
      const before = this.#watch;
      [this.#watch, this.#next] = [watch, undefined];
      void before.close();
    }
    this.#changed();
  }

  #changed(): void {
    const { problem } = this.#watch.source;
    const state = this.#watch.snapshot === undefined ? "connecting" : problem === undefined ? "connected" : "away";
    if (state !== this.#state) {
      this.#since = Date.now();
      this.#options.logger.log(state === "connected" ? "info" : "warn", `cluster ${state}`, {
        cluster: this.#options.name,
        ...(problem === undefined ? {} : { reason: problem }),
      });
    }
    this.#state = state;
    this.#options.onChange();
  }
}
