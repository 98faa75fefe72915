/** The ConfigMap `istio-ca-root-cert` of every namespace: the roots by which its workloads know the control plane (CA-15). */
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { type KubernetesApi, MERGE_PATCH } from "./api.ts";
import { isPlain } from "./api-objects.ts";
import { Coalesced } from "./coalesced.ts";
import { isEnding, OF_KUBERNETES } from "./namespaces.ts";
import { Reflector, type ReflectorOptions } from "./reflector.ts";
import { objectPath, ROOT_CONFIG_MAPS, ROOT_KEY } from "./watched-kinds.ts";

const WRITE_MS = 500;

export interface RootConfigMapsOptions {
  readonly api: KubernetesApi;
  readonly logger: Logger;
  readonly namespaces: () => Iterable<string>;
  /** PEM of the roots of now. */
  readonly roots: () => string;
  /** Whether this replica is the one to write. */
  readonly mayWrite: () => boolean;
  readonly limits?: ReflectorOptions["limits"];
}

export class RootConfigMaps {
  readonly #options: RootConfigMapsOptions;
  readonly #reflector: Reflector;
  readonly #writer: Coalesced;

  constructor(options: RootConfigMapsOptions) {
    this.#options = options;
    const { api, logger, limits } = options;
    this.#writer = new Coalesced({
      what: "writing the roots into namespaces",
      work: (signal) => this.#write(signal),
      logger,
      intervalMs: WRITE_MS,
    });
    const onChange = (): void => this.refresh();
    this.#reflector = new Reflector({ api, kind: ROOT_CONFIG_MAPS, logger, onChange, ...(limits === undefined ? {} : { limits }) });
  }

  /** Why the roots cannot be kept in the namespaces; undefined while they can. */
  get problem(): string | undefined {
    const why = this.#reflector.problem ?? this.#writer.problem;
    return why === undefined ? undefined : `the roots of its namespaces (ConfigMap ${ROOT_CONFIG_MAPS.only.name}) are not kept up: ${why}`;
  }

  /** Looks again: there are other namespaces, other roots, or this replica has become the one to write. */
  refresh(): void {
    this.#writer.ask();
  }

  async close(): Promise<void> {
    await Promise.all([this.#writer.close(), this.#reflector.close()]);
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { namespaces, roots, mayWrite } = this.#options;
    const { objects } = this.#reflector;
    if (objects === undefined) return;
    const wanted = { [ROOT_KEY]: roots() };
    for (const namespace of namespaces()) {
      if (signal.aborted || !mayWrite()) return;
      if (OF_KUBERNETES.has(namespace)) continue;
      const found = objects.get(`${namespace}/${ROOT_CONFIG_MAPS.only.name}`)?.body.data;
      if (isPlain(found) && found[ROOT_KEY] === wanted[ROOT_KEY]) continue;
      await this.#put(namespace, objects.has(`${namespace}/${ROOT_CONFIG_MAPS.only.name}`), wanted);
    }
  }

  async #put(namespace: string, exists: boolean, data: Readonly<Record<string, string>>): Promise<void> {
    const { api, logger } = this.#options;
    const { name } = ROOT_CONFIG_MAPS.only;
    const answer = exists
      ? await api.call("PATCH", objectPath(ROOT_CONFIG_MAPS, "v1", { namespace, name }), { data }, MERGE_PATCH)
      : await api.call("POST", `/api/v1/namespaces/${namespace}/configmaps`, {
          apiVersion: "v1",
          kind: "ConfigMap",
          metadata: { name },
          data,
        });
    // Made by another meanwhile: the watch will tell.
    if (answer.status === 409 || isEnding(answer)) return;
    if (answer.status !== 200 && answer.status !== 201) {
      throw new AppError("unavailable", `the API server answers ${answer.status} to the roots for namespace \`${namespace}\``);
    }
    logger.log("debug", "the roots are written", { namespace });
  }
}
