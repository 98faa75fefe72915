/** Compiled policies -> the resources of the proxies that are connected, and of no others. */

import { hash } from "node:crypto";
import { type GatewaySecret, gatewaySecrets } from "../compile/gateway-secrets.ts";
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { ResourceCache } from "../xds/cache.ts";
import type { ResourceSet } from "../xds/resource.ts";
import type { MeshView } from "./mesh-state.ts";

/** The two kinds of proxy; each is served what it understands. */
export type ProxyKind = "envoy" | "embedded";

export interface ProxyView {
  readonly workload: string;
  readonly kind: ProxyKind;
}

/** Secrets come apart from the policy, which is shown to people. `own` is one object for one view, with which parts are kept. */
export type Renderers = Readonly<
  Record<ProxyKind, (policy: WorkloadPolicy, secrets: readonly GatewaySecret[], own: object) => ResourceSet>
>;

/** The cache key of a view. */
export function formatProxyView(view: ProxyView): string {
  return `${view.kind} ${view.workload}`;
}

/** The view of a cache key that `formatProxyView` made. */
export function parseProxyView(key: string): ProxyView {
  const [kind = "", workload = ""] = key.split(" ");
  return { kind: kind === "envoy" ? "envoy" : "embedded", workload };
}

interface Published {
  readonly view: ProxyView;
  /** Streams that are open for this view. */
  streams: number;
  /** The policy last rendered; undefined for a workload that is gone. */
  policy: WorkloadPolicy | undefined;
  /** A digest of the secrets that were rendered with it. */
  secrets: string;
}

function digestOf(secrets: readonly GatewaySecret[]): string {
  const contents = secrets.map((secret) => (secret.kind === "certificate" ? { ...secret, key: secret.key.reveal() } : secret));
  return secrets.length === 0 ? "" : hash("sha256", JSON.stringify(contents));
}

const NOTHING: ResourceSet = new Map();

export class Publisher {
  readonly #cache: ResourceCache;
  readonly #renderers: Renderers;
  readonly #logger: Logger;
  readonly #published = new Map<string, Published>();
  #mesh: MeshView;

  constructor(cache: ResourceCache, renderers: Renderers, mesh: MeshView, logger: Logger) {
    this.#cache = cache;
    this.#renderers = renderers;
    this.#logger = logger;
    this.#mesh = mesh;
  }

  /** A stream of this key opens: from now on its resources are kept. */
  connected(key: string): void {
    const entry = this.#published.get(key);
    if (entry !== undefined) {
      entry.streams += 1;
      return;
    }
    const added: Published = { view: parseProxyView(key), streams: 1, policy: undefined, secrets: "" };
    this.#published.set(key, added);
    this.#render(key, added, true);
  }

  disconnected(key: string): void {
    const entry = this.#published.get(key);
    if (entry === undefined) return;
    entry.streams -= 1;
    if (entry.streams > 0) return;
    this.#published.delete(key);
    this.#cache.delete(key);
  }

  /** A new state of the mesh: only the views whose own policy changed are rendered and pushed. */
  publish(mesh: MeshView): void {
    this.#mesh = mesh;
    for (const [key, entry] of this.#published) this.#render(key, entry, false);
  }

  /** A workload that is gone gets nothing, so its proxy closes its listeners. */
  #render(key: string, entry: Published, first: boolean): void {
    const policy = this.#mesh.policies.get(entry.view.workload);
    // The compiler keeps what is the same. Secrets are no part of it.
    if (!first && policy === entry.policy && policy?.gateway === undefined) return;
    const secrets = policy === undefined ? [] : gatewaySecrets(this.#mesh.snapshot, policy);
    const digest = digestOf(secrets);
    const same = !first && policy === entry.policy && digest === entry.secrets;
    [entry.policy, entry.secrets] = [policy, digest];
    if (same) return;
    try {
      this.#cache.set(key, policy === undefined ? NOTHING : this.#renderers[entry.view.kind](policy, secrets, entry));
    } catch (error) {
      // One workload that cannot be rendered keeps what it has, and no other waits for it.
      this.#logger.log("error", "a policy cannot be rendered", { workload: entry.view.workload, reason: AppError.from(error).message });
    }
  }
}
