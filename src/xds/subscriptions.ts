/** What a client asks for on one stream, by type, and which of it is sent next. */
import { resourcesOf, versionOf } from "./cache.ts";
import type { Push } from "./push.ts";
import type { ResourceSet } from "./resource.ts";
import type { Subscription } from "./subscription.ts";
import { pushSteps, type Step, waitsFor } from "./types.ts";

/** A response that is due. */
export interface Due {
  readonly subscription: Subscription;
  readonly push: Push;
  readonly version: string;
}

export class Subscriptions {
  readonly #byType = new Map<string, Subscription>();
  #steps: readonly Step[] = [];

  get all(): Iterable<Subscription> {
    return this.#byType.values();
  }

  get size(): number {
    return this.#byType.size;
  }

  /** Names subscribed to. */
  get names(): number {
    let names = 0;
    for (const { size } of this.all) names += size;
    return names;
  }

  get(typeUrl: string): Subscription | undefined {
    return this.#byType.get(typeUrl);
  }

  add(subscription: Subscription): void {
    this.#byType.set(subscription.typeUrl, subscription);
    this.#steps = pushSteps(this.#byType.keys());
  }

  /** Of a type the client has not had anything yet. */
  get hasNew(): boolean {
    for (const { isPending, lastNonce } of this.all) if (isPending && lastNonce === undefined) return true;
    return false;
  }

  /** The first response that is due and that need not wait: for its type's last answer, or for what it may refer to. Whoever asks sends it. */
  next(set: ResourceSet): Due | undefined {
    for (const step of this.#steps) {
      const { typeUrl, phase } = step;
      const subscription = this.#byType.get(typeUrl);
      if (subscription === undefined || !subscription.isDue(phase)) continue;
      if (subscription.unansweredSince !== undefined) continue;
      if (waitsFor(step).some((other) => this.#byType.get(other)?.isDue("make"))) continue;
      const resources = resourcesOf(set, typeUrl);
      const version = versionOf(resources);
      const push = subscription.next(resources, version, phase);
      if (push !== undefined) return { subscription, push, version };
    }
    return undefined;
  }

  /** Something may be due. */
  get isDue(): boolean {
    for (const subscription of this.all) if (subscription.isDue("make") || subscription.isDue("break")) return true;
    return false;
  }

  /** Whether a response that was sent then or before waits for its answer. */
  isUnanswered(since: number): boolean {
    for (const { unansweredSince } of this.all) if (unansweredSince !== undefined && unansweredSince <= since) return true;
    return false;
  }

  /** What was refused then or before is offered again; returns whether anything was. */
  offerRefused(since: number): boolean {
    let offered = false;
    for (const subscription of this.all) {
      const { refusedSince } = subscription;
      if (refusedSince === undefined || refusedSince > since) continue;
      subscription.offerRejected();
      offered = true;
    }
    return offered;
  }
}
