/**
 * The `caBundle` of our own webhook configurations: the roots by which the API server knows the control plane. It is written where it
 * is missing or another, whoever changed it, and nothing else of the configurations is touched.
 */
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { JSON_PATCH, type KubernetesApi } from "./api.ts";
import { type ApiObject, isPlain } from "./api-objects.ts";
import { Coalesced } from "./coalesced.ts";
import { Reflector, type ReflectorOptions } from "./reflector.ts";
import { objectPath, type WatchedKind, webhookKinds } from "./watched-kinds.ts";

/** Between two writes of one configuration, whoever undoes them. */
const WRITE_MS = 1_000;

export interface WebhookBundlesOptions {
  readonly api: KubernetesApi;
  readonly logger: Logger;
  /** The name of the configurations. */
  readonly name: string;
  /** PEM of the roots of now. */
  readonly roots: () => string;
  /** Whether this replica is the one to write. */
  readonly mayWrite: () => boolean;
  readonly limits?: ReflectorOptions["limits"];
}

interface Watched {
  readonly kind: WatchedKind;
  readonly reflector: Reflector;
}

/** JSON Patch (RFC 6902) for the webhooks of a configuration that have another bundle; none where all is well. */
function patchOf({ body }: ApiObject, bundle: string): readonly unknown[] {
  const webhooks = Array.isArray(body.webhooks) ? body.webhooks : [];
  return webhooks.flatMap((webhook: unknown, index) => {
    const config = isPlain(webhook) ? webhook.clientConfig : undefined;
    if (!isPlain(webhook) || !isPlain(config) || config.caBundle === bundle) return [];
    return [
      // The list may have changed meanwhile.
      { op: "test", path: `/webhooks/${index}/name`, value: webhook.name },
      { op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value: bundle },
    ];
  });
}

export class WebhookBundles {
  readonly #options: WebhookBundlesOptions;
  readonly #watched: readonly Watched[];
  readonly #writer: Coalesced;

  constructor(options: WebhookBundlesOptions) {
    this.#options = options;
    const { api, logger, name, limits } = options;
    this.#writer = new Coalesced({ what: "writing the `caBundle` of webhooks", work: () => this.#write(), logger, intervalMs: WRITE_MS });
    const onChange = (): void => this.refresh();
    const more = limits === undefined ? {} : { limits };
    this.#watched = webhookKinds(name).map((kind) => ({ kind, reflector: new Reflector({ api, kind, logger, onChange, ...more }) }));
  }

  /** Why the roots cannot be kept in the configurations; undefined while they can. */
  get problem(): string | undefined {
    const unwatched = this.#watched.map(({ reflector }) => reflector.problem).find((problem) => problem !== undefined);
    const why = unwatched ?? this.#writer.problem;
    return why === undefined ? undefined : `the roots of its webhooks (\`caBundle\`) are not kept up: ${why}`;
  }

  /** Looks again: the roots are others, or this replica has become the one to write. */
  refresh(): void {
    this.#writer.ask();
  }

  async close(): Promise<void> {
    await Promise.all([this.#writer.close(), ...this.#watched.map(({ reflector }) => reflector.close())]);
  }

  async #write(): Promise<void> {
    const { api, logger, roots, mayWrite } = this.#options;
    if (!mayWrite()) return;
    const bundle = Buffer.from(roots()).toString("base64");
    for (const { kind, reflector } of this.#watched) {
      for (const object of reflector.objects?.values() ?? []) {
        const patch = patchOf(object, bundle);
        if (patch.length === 0) continue;
        const { name } = object.metadata;
        const { status } = await api.call("PATCH", objectPath(kind, "v1", object.metadata), patch, JSON_PATCH);
        // Gone meanwhile: the watch will tell.
        if (status !== 200 && status !== 404)
          throw new AppError("unavailable", `the API server answers ${status} to the new \`caBundle\` of ${name}`);
        logger.log("info", "the webhooks' `caBundle` is written", { kind: kind.kind, name });
      }
    }
  }
}
