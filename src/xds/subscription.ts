/** One resource type on one stream: what the client asks for, what it was told, and what it answered. */
import type { ResourcesOfType } from "./cache.ts";
import type { AckState, TypeStatus } from "./connection.ts";
import { Interest } from "./interest.ts";
import type { Answer, Push } from "./push.ts";
import { Told } from "./told.ts";
import { FIRST_ANSWER_ONLY, type Phase, removedLast, WILDCARD_TYPES } from "./types.ts";
import { Verdicts } from "./verdicts.ts";

interface Outstanding {
  readonly push: Push;
  /** All resources of the state that the push is of. */
  readonly of: ResourcesOfType;
  readonly nonce: string;
  readonly version: string;
  readonly at: number;
}

export class Subscription {
  readonly typeUrl: string;
  readonly #variant: "delta" | "sotw";
  readonly #interest: Interest;
  readonly #told = new Told();
  readonly #verdicts: Verdicts;
  /** Parts of a refused response, to be tried apart: one bad resource must not hold up the good ones beside it. */
  readonly #retries: (readonly string[])[] = [];
  readonly #due: Record<Phase, boolean> = { make: false, break: false };
  #owesAnswer = false;
  #claimedVersion: string | undefined;
  #outstanding: Outstanding | undefined;
  /** The resources that were looked at last. */
  #looked: ResourcesOfType = new Map();
  #sent: TypeStatus["sent"];
  #acked: TypeStatus["acked"];
  #nacked: TypeStatus["nacked"];

  /** `refused`: the versions by name that this client refused on this or an earlier stream; kept up to date here. */
  constructor(typeUrl: string, variant: "delta" | "sotw", refused: Map<string, string> = new Map()) {
    this.typeUrl = typeUrl;
    this.#variant = variant;
    this.#interest = new Interest(typeUrl);
    this.#verdicts = new Verdicts(typeUrl, refused);
  }

  /** Each response of this type is the whole state. */
  get #complete(): boolean {
    return this.#variant === "sotw" && WILDCARD_TYPES.has(this.typeUrl);
  }

  // === what the client asks for ===

  /** Names subscribed to. */
  get size(): number {
    return this.#interest.names.size;
  }

  /** Delta. A name that was subscribed to before is sent again: the client may have forgotten it (xDS protocol, "Subscribing to Resources"). */
  subscribe(names: readonly string[]): void {
    for (const name of names) this.#want(name);
  }

  unsubscribe(names: readonly string[]): void {
    for (const name of names) if (this.#interest.delete(name)) this.#lose(name);
  }

  /** Delta. A request that names nothing. */
  subscribeByDefault(): void {
    if (this.#interest.emptyMeansAll && !this.#interest.all) this.#wantAll();
  }

  /** State of the world: the names that the client wants from now on. */
  replace(names: readonly string[]): void {
    if (names.length === 0 && this.#interest.emptyMeansAll) {
      this.subscribeByDefault();
      return;
    }
    const wanted = new Set(names);
    const known = new Set(this.#interest.names);
    for (const name of known.difference(wanted)) this.unsubscribe([name]);
    for (const name of wanted) {
      if (known.has(name)) this.#interest.add(name);
      else this.#want(name);
    }
  }

  #want(name: string): void {
    this.#interest.add(name);
    if (this.#interest.isWildcard(name)) this.#wantAll();
    else this.#doubt([name]);
  }

  #wantAll(): void {
    this.#interest.addAll();
    this.#told.lookAtAll();
    this.forget(this.#told.names);
    this.#owesAnswer = true;
    this.touch();
  }

  /** A name that the wildcard may still cover is told again, as the client cannot know (xDS protocol, "Unsubscribing from Resources"). */
  #lose(name: string): void {
    if (this.#interest.all) this.#doubt([name]);
    else if (!this.#interest.isWildcard(name)) this.#drop(name);
    else {
      this.#owesAnswer = false;
      for (const told of this.#told.names) if (!this.#interest.covers(told)) this.#drop(told);
    }
  }

  #drop(name: string): void {
    this.#told.drop(name);
    if (this.#verdicts.drop(name)) this.#offerRest();
  }

  /** A complete state that was refused may be good without what the client no longer wants. */
  #offerRest(): void {
    if (!this.#complete) return;
    this.#owesAnswer = true;
    this.touch();
  }

  /** What the client still has of an earlier stream (delta: `initial_resource_versions`). */
  resume(versions: Readonly<Record<string, string>>): void {
    for (const [name, version] of Object.entries(versions)) {
      if (!this.#interest.covers(name)) continue;
      this.#told.claim(name, version);
      this.#verdicts.claim(name, version);
      this.#owesAnswer = false;
    }
  }

  /** The version that the client still has of an earlier stream (state of the world: `version_info`). Safe to trust for the wildcard alone. */
  claim(version: string): void {
    if (this.#complete && this.#interest.all && this.size === 1) this.#claimedVersion = version;
  }

  /** What the client has of these is not known, so it is told as far as it wants them. */
  #doubt(names: readonly string[]): void {
    for (const name of names) {
      if (!this.#interest.covers(name)) continue;
      this.#told.doubt(name);
      this.touch();
    }
  }

  /** What was refused may be good now that something else is. */
  offerRejected(): void {
    if (this.#verdicts.rejected.size === 0) return;
    this.#offerRest();
    this.forget(this.#verdicts.rejected);
  }

  /** Of these, what the client has is told again. */
  forget(names: Iterable<string>): void {
    for (const name of [...names]) if (this.#told.forget(name)) this.touch();
  }

  // === what it is told ===

  /** Something may have changed: the next push looks. */
  touch(): void {
    this.#due.make = true;
    this.#due.break = removedLast(this.typeUrl);
  }

  isDue(phase: Phase): boolean {
    return this.#due[phase];
  }

  /** Since when a response waits for its answer. One at a time: what changes meanwhile is sent in its newest form afterwards. */
  get unansweredSince(): number | undefined {
    return this.#outstanding?.at;
  }

  get lastNonce(): string | undefined {
    return this.#sent?.nonce;
  }

  /** What to send now, or undefined when the client has all of it. */
  next(resources: ResourcesOfType, version: string, phase: Phase): Push | undefined {
    this.#looked = resources;
    this.#settleClaim(resources, version);
    const retry = phase === "make" ? this.#nextRetry(resources) : undefined;
    if (retry !== undefined) return retry;
    this.#due[phase] = false;
    return this.#nextChange(resources, phase);
  }

  #settleClaim(resources: ResourcesOfType, version: string): void {
    if (this.#claimedVersion === version) {
      for (const resource of resources.values()) {
        this.#told.claim(resource.name, resource.version);
        this.#verdicts.claim(resource.name, resource.version);
      }
      this.#owesAnswer = false;
    }
    this.#claimedVersion = undefined;
  }

  #nextRetry(resources: ResourcesOfType): Push | undefined {
    for (let names = this.#retries.shift(); names !== undefined; names = this.#retries.shift()) {
      const found = names.flatMap((name) => (this.#told.has(name) ? (resources.get(name) ?? []) : []));
      if (found.length > 0) return { resources: found, removed: [], news: found.map(({ name }) => name) };
    }
    return undefined;
  }

  #nextChange(resources: ResourcesOfType, phase: Phase): Push | undefined {
    const made = phase === "make" ? this.#told.newsOf(resources, this.#interest) : [];
    const gone = phase === "break" || !removedLast(this.typeUrl) ? this.#told.goneFrom(resources) : [];
    if (made.length === 0 && gone.length === 0 && !(phase === "make" && this.#owesAnswer)) return undefined;
    if (FIRST_ANSWER_ONLY.has(this.typeUrl) && made.length > 0 && made.length + gone.length > 1) {
      this.#due.make = true;
      this.#told.lookAtAll();
      return { resources: made.slice(0, 1), removed: [], news: made.slice(0, 1).map(({ name }) => name) };
    }
    const news = made.map(({ name }) => name);
    if (this.#complete) return { resources: this.#interest.select(resources), removed: [...gone, ...this.#told.goneFrom(resources)], news };
    if (this.#variant === "delta" || made.length > 0) return { resources: made, removed: gone, news };
    this.#tellRemoved(gone);
    for (const name of gone) this.#verdicts.drop(name); // state of the world has no words for it: only the parent resource can stop referring to these
    return undefined;
  }

  #tellRemoved(names: readonly string[]): void {
    this.#told.removed(names, (name) => this.#interest.names.has(name));
  }

  /** The push goes out under this nonce. */
  commit(push: Push, nonce: string, version: string, at: number): void {
    this.#told.sent(push.resources);
    this.#tellRemoved(push.removed);
    this.#owesAnswer = false;
    this.#sent = { version, nonce, at };
    this.#outstanding = { push, of: this.#looked, nonce, version, at };
  }

  // === what it answers ===

  /** Takes an ACK (no message) or NACK. Undefined when the nonce is not that of the response that waits. */
  answer(nonce: string, message: string | undefined, at: number): Answer | undefined {
    const outstanding = this.#outstanding;
    if (outstanding?.nonce !== nonce) return undefined;
    this.#outstanding = undefined;
    const { push, of, version } = outstanding;
    const names = push.resources.map((resource) => resource.name);
    this.#doubt(names.filter((name) => !this.#told.has(name))); // dropped and wanted again while it was under way
    const rejected = this.#verdicts.rejected.size;
    const repeated = message !== undefined && this.#nacked?.message === message;
    if (message === undefined) {
      this.#accept(push, of);
      this.#acked = { version, at };
    } else {
      this.#refuse(push, names);
      this.#nacked = { version, message, names, at };
    }
    const recovered = this.#verdicts.rejected.size < rejected;
    return { version, names, message, latencyMs: at - outstanding.at, repeated, recovered };
  }

  #accept(push: Push, of: ResourcesOfType): void {
    if (this.#complete) this.#verdicts.clearRejected();
    const held = push.resources.filter(({ name }) => this.#told.has(name));
    this.#verdicts.accept(held, of);
    for (const name of push.removed) this.#verdicts.drop(name);
  }

  /** A response is refused as a whole, so what stood beside the cause is tried again without it. */
  #refuse({ resources, removed }: Push, names: readonly string[]): void {
    if (!this.#complete && resources.length > 0 && names.length + removed.length > 1) {
      const half = (names.length + 1) >> 1;
      this.#retries.unshift(names.slice(0, half), names.slice(half));
      this.#doubt(removed);
      this.touch();
      return;
    }
    if (names.some((name) => !this.#told.has(name))) this.#offerRest();
    this.#verdicts.reject(resources, removed);
    for (const name of names) if (!this.#told.has(name)) this.#verdicts.drop(name);
  }

  /** The version of this resource that the client said it runs. */
  accepted(name: string): string | undefined {
    return this.#verdicts.accepted(name);
  }

  isRejected(name: string): boolean {
    return this.#verdicts.rejected.has(name);
  }

  /** Since when the client refuses what it could have; undefined for a type of which it tries nothing twice. */
  get refusedSince(): number | undefined {
    if (this.isPending || this.#verdicts.rejected.size === 0 || FIRST_ANSWER_ONLY.has(this.typeUrl)) return undefined;
    return this.#nacked?.at;
  }

  /** Something is to be sent, or was sent and is not answered. */
  get isPending(): boolean {
    return this.#outstanding !== undefined || this.#due.make || this.#due.break || this.#retries.length > 0;
  }

  get state(): AckState {
    if (this.isPending) return "pending";
    return this.#verdicts.rejected.size > 0 ? "rejected" : "acked";
  }

  status(): TypeStatus {
    const { typeUrl, state } = this;
    return {
      typeUrl,
      state,
      resources: this.#told.size,
      sent: this.#sent,
      acked: this.#acked,
      nacked: this.#nacked,
      rejected: [...this.#verdicts.rejected],
    };
  }
}
