/** Compiled policies -> the resources of the proxies that are connected, and of no others. */

import { hash } from "node:crypto";
import { type GatewaySecret, gatewaySecrets } from "../compile/gateway-secrets.ts";
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
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
  /** Calls back after so many milliseconds. */
  readonly after: (ms: number, resume: () => void) => void;
}

const SLICES: Slices = {
  ms: 5,
  now: () => performance.now(),
  next: (resume) => void setImmediate(resume),
  after: (ms, resume) => void setTimeout(resume, ms).unref(),
};

/**
 * After a push, where others are is not pushed again for so many times as long as the push took, and never for longer than this many
 * milliseconds: endpoints that come and go without end take a share of the processor, however many proxies see them.
 */
const REST = { times: 6, mostMs: 2000 } as const;

/** Fields of a snapshot that say where workloads are, and nothing of who may do what. */
const PLACES: ReadonlySet<string> = new Set<keyof MeshSnapshot>(["endpointSlices", "workloads"]);

/** Whether two states differ in where workloads are alone. What comes from outside of the snapshot changes while that is the same. */
function onlyPlaces(before: MeshSnapshot, after: MeshSnapshot): boolean {
  const previous = new Map<string, unknown>(Object.entries(before));
  const changed = Object.entries(after).filter(([field, value]) => previous.get(field) !== value);
  return changed.length > 0 && changed.every(([field]) => PLACES.has(field));
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
  readonly #slices: Slices;
  readonly #published = new Map<string, Published>();
  /** The views that have not been looked at since they may have changed; who waits longest comes first. */
  readonly #waiting = new Set<string>();
  /** The views for which others have changed their places, until the rest is over. */
  readonly #resting = new Set<string>();
  #pushing = false;
  #pushBegan = 0;
  #restEnds = 0;
  #restTimed = false;
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
      if (this.#takeOut(key)) this.#render(key, entry, false);
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
    this.#takeOut(key);
    this.#cache.delete(key);
  }

  /** Whether it was waiting or resting. */
  #takeOut(key: string): boolean {
    return [this.#waiting.delete(key), this.#resting.delete(key)].includes(true);
  }

  /**
   * A new state of the mesh: only the views whose own policy changed are compiled, rendered and pushed, slice by slice. From here on none of them
   * counts as having its resources until it has been looked at. What a state before has not come to is done by this one; whoever
   * waits keeps his place, so that states that follow one another fast leave nobody out; and slices grow twice as long with each
   * that comes before the end, so that where states come faster than slices all are sent within a few of them. Where only others
   * have changed their places, a view that was just pushed rests, and counts as having what it was pushed.
   */
  publish(mesh: MeshView): void {
    const [before, after] = [this.#mesh.snapshot, mesh.snapshot];
    const mayRest = (this.#pushing || this.#slices.now() < this.#restEnds) && onlyPlaces(before, after);
    this.#mesh = mesh;
    if (this.#pushing && !mayRest) this.#budget *= 2;
    for (const [key, entry] of this.#published) {
      const { workload } = entry.view;
      if (!this.#mayDiffer(entry)) {
        if (this.#takeOut(key) && !entry.failed) this.#cache.confirm(key);
      } else if (mayRest && !this.#waiting.has(key) && before.workloads.get(workload) === after.workloads.get(workload)) {
        this.#resting.add(key);
      } else this.#await(key);
    }
    if (this.#pushing) return;
    if (this.#waiting.size > 0) this.#begin();
    else this.#rest();
  }

  #await(key: string): void {
    this.#resting.delete(key);
    this.#waiting.add(key);
    this.#cache.outdate(key);
  }

  /** Nothing is compiled to see it: that waits for its turn. Secrets, which gateways have, are no part of a policy. */
  #mayDiffer({ view: { workload }, policy: before }: Published): boolean {
    if (before === undefined) return this.#mesh.policies.has(workload);
    return this.#mesh.knownPolicy(workload) !== before || before.gateway !== undefined;
  }

  #begin(): void {
    this.#pushing = true;
    this.#pushBegan = this.#slices.now();
    this.#push();
  }

  #push(): void {
    const { now, next } = this.#slices;
    const end = now() + this.#budget;
    for (const key of this.#waiting) {
      this.#waiting.delete(key);
      const entry = this.#published.get(key);
      if (entry !== undefined) this.#render(key, entry, false);
      if (now() >= end) break;
    }
    if (this.#waiting.size > 0) next(() => this.#push());
    else this.#end();
  }

  #end(): void {
    const now = this.#slices.now();
    this.#pushing = false;
    this.#budget = this.#slices.ms;
    this.#restEnds = now + Math.min(REST.times * (now - this.#pushBegan), REST.mostMs);
    this.#rest();
  }

  /** Until it is over, for those that rest. */
  #rest(): void {
    if (this.#restTimed || this.#resting.size === 0) return;
    this.#restTimed = true;
    this.#slices.after(Math.max(0, this.#restEnds - this.#slices.now()), () => {
      this.#restTimed = false;
      if (this.#pushing) return;
      for (const key of this.#resting) this.#await(key);
      if (this.#waiting.size > 0) this.#begin();
    });
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
