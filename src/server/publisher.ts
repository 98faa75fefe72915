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
  /** It could not be rendered, so that the proxy has an older one. */
  failed: boolean;
}

/** How a push to many is cut, so that the first of them do not wait for the last, and what proxies answer is heard in between. */
export interface Slices {
  /** Milliseconds until others have their turn. */
  readonly ms: number;
  /** Milliseconds on any clock that only goes forward. */
  readonly now: () => number;
  /** Calls back when they have had it. */
  readonly next: (resume: () => void) => void;
}

const SLICES: Slices = { ms: 5, now: () => performance.now(), next: (resume) => void setImmediate(resume) };

function digestOf(secrets: readonly GatewaySecret[]): string {
  const contents = secrets.map((secret) => (secret.kind === "certificate" ? { ...secret, key: secret.key.reveal() } : secret));
  return secrets.length === 0 ? "" : hash("sha256", JSON.stringify(contents));
}

const NOTHING: ResourceSet = new Map();

export class Publisher {
  readonly #cache: ResourceCache;
  readonly #renderers: Renderers;
  readonly #logger: Logger;
  readonly #slices: Slices;
  readonly #published = new Map<string, Published>();
  /** The views that have not been looked at since they may have changed; who waits longest comes first. */
  readonly #waiting = new Set<string>();
  #pushing = false;
  /** Milliseconds of the next slice. */
  #budget: number;
  #mesh: MeshView;

  constructor(cache: ResourceCache, renderers: Renderers, mesh: MeshView, logger: Logger, slices: Slices = SLICES) {
    this.#cache = cache;
    this.#renderers = renderers;
    this.#logger = logger;
    this.#slices = slices;
    this.#budget = slices.ms;
    this.#mesh = mesh;
  }

  /** A stream of this key opens: from now on its resources are kept. It begins with the newest. */
  connected(key: string): void {
    const entry = this.#published.get(key);
    if (entry !== undefined) {
      entry.streams += 1;
      if (this.#waiting.delete(key)) this.#render(key, entry, false);
      return;
    }
    const added: Published = { view: parseProxyView(key), streams: 1, policy: undefined, secrets: "", failed: false };
    this.#published.set(key, added);
    this.#render(key, added, true);
  }

  disconnected(key: string): void {
    const entry = this.#published.get(key);
    if (entry === undefined) return;
    entry.streams -= 1;
    if (entry.streams > 0) return;
    this.#published.delete(key);
    this.#waiting.delete(key);
    this.#cache.delete(key);
  }

  /**
   * A new state of the mesh: only the views whose own policy changed are compiled, rendered and pushed, slice by slice. From here on none of them
   * counts as having its resources until it has been looked at. What a state before has not come to is done by this one; whoever
   * waits keeps his place, so that states that follow one another fast leave nobody out; and slices grow twice as long with each
   * that comes before the end, so that where states come faster than slices all are sent within a few of them.
   */
  publish(mesh: MeshView): void {
    this.#mesh = mesh;
    if (this.#pushing) this.#budget *= 2;
    for (const [key, entry] of this.#published) {
      if (this.#mayDiffer(entry)) {
        this.#waiting.add(key);
        this.#cache.outdate(key);
      } else if (this.#waiting.delete(key) && !entry.failed) this.#cache.confirm(key);
    }
    if (!this.#pushing) this.#push();
  }

  /** Nothing is compiled to see it: that waits for its turn. Secrets, which gateways have, are no part of a policy. */
  #mayDiffer({ view: { workload }, policy: before }: Published): boolean {
    if (before === undefined) return this.#mesh.policies.has(workload);
    return this.#mesh.knownPolicy(workload) !== before || before.gateway !== undefined;
  }

  #push(): void {
    const { ms, now, next } = this.#slices;
    const end = now() + this.#budget;
    this.#pushing = true;
    for (const key of this.#waiting) {
      this.#waiting.delete(key);
      const entry = this.#published.get(key);
      if (entry !== undefined) this.#render(key, entry, false);
      if (now() >= end) break;
    }
    this.#pushing = this.#waiting.size > 0;
    if (this.#pushing) next(() => this.#push());
    else this.#budget = ms;
  }

  /** One that cannot be compiled or rendered keeps what it has, does not count as having the newest, and no other waits for it. */
  #render(key: string, entry: Published, first: boolean): void {
    try {
      this.#renderOne(key, entry, first);
    } catch (error) {
      this.#logger.log("error", "a policy cannot be rendered", { workload: entry.view.workload, reason: AppError.from(error).message });
    }
  }

  /** A workload that is gone gets nothing, so its proxy closes its listeners. */
  #renderOne(key: string, entry: Published, first: boolean): void {
    const policy = this.#mesh.policies.get(entry.view.workload);
    const secrets = policy === undefined ? [] : gatewaySecrets(this.#mesh.snapshot, policy);
    const digest = digestOf(secrets);
    const same = !first && policy === entry.policy && digest === entry.secrets;
    if (same) {
      if (!entry.failed) this.#cache.confirm(key);
      return;
    }
    [entry.policy, entry.secrets, entry.failed] = [policy, digest, true];
    this.#cache.set(key, policy === undefined ? NOTHING : this.#renderers[entry.view.kind](policy, secrets, entry));
    entry.failed = false;
  }
}
