/**
 * A copy of all objects of one kind that follows the API server: a list, then a watch from where the list was taken, resumed where it
 * breaks. What was seen last stays until something newer has been seen whole: a list replaces the copy only with its last page
 * (Kubernetes API concepts, "Efficient detection of changes").
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Backoff } from "../../core/backoff.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { KubernetesApi } from "./api.ts";
import { type ApiObject, readEvent, readPage, type WatchEvent, withMeaning } from "./api-objects.ts";
import { collectionPath, type WatchedKind } from "./watched-kinds.ts";

export const REFLECTOR_LIMITS = {
  /** Objects of a page. */
  page: 500,
  /** Objects of one kind. */
  objects: 200_000,
  /** Pages one after the other that bring nothing new: a list that goes on for ever is none. */
  idlePages: 200,
  /** Seconds until the server ends a watch, which is then resumed. */
  watchSeconds: 300,
  /** Milliseconds before the first attempt after a failure; it doubles up to the second. */
  firstRetryMs: 200,
  lastRetryMs: 30_000,
  /** A kind that the server has no more is taken for gone after so long: a server that is starting does not know its custom kinds yet. */
  vanishedMs: 60_000,
  /** After an outage of so long a watch is not resumed: the server may have been restored from an older state meanwhile, and gone on from there. */
  outageMs: 30_000,
  /** Between two questions for a kind that was never there. */
  missingRetryMs: 5_000,
} as const;

export interface ReflectorOptions {
  readonly api: KubernetesApi;
  readonly kind: WatchedKind;
  readonly logger: Logger;
  /** After each change, and once after the first list. */
  readonly onChange: () => void;
  /** Whether `takeChanged` is asked: of others nothing is kept for it. */
  readonly tellsChanged?: boolean;
  /** After a change of the status alone, of kinds that are decoded. */
  readonly onStatus?: () => void;
  /** When the objects cannot be watched any more, or could not from the start, and when they can be again. */
  readonly onProblem?: () => void;
  /** In [0, 1): spreads the attempts of several replicas. */
  readonly random?: () => number;
  readonly limits?: Partial<Record<keyof typeof REFLECTOR_LIMITS, number>>;
}

/** How it stands with the watch of one kind. */
export interface WatchHealth {
  readonly kind: string;
  /** Milliseconds since the server last said something of it, be it that there is nothing new. */
  readonly silenceMs: number;
  /** How often a watch broke, or could not begin. */
  readonly restarts: number;
  readonly objects: number;
}

/** What the server cannot serve from: a resource version that was compacted, or that it has not come to. */
class Expired extends Error {}
/** The server has no such kind. */
class Unknown extends Error {}

function keyOf({ metadata }: ApiObject): string {
  return `${metadata.namespace}/${metadata.name}`;
}

export class Reflector {
  readonly #options: ReflectorOptions;
  readonly #limits: Readonly<Record<keyof typeof REFLECTOR_LIMITS, number>>;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  #objects: Map<string, ApiObject> | undefined;
  #changed = new Set<string>();
  #version: string | undefined;
  #position = "";
  /** Whether the next watch goes on from where another ended. */
  #resumes = false;
  #failingSince: number | undefined;
  readonly #backoff: Backoff;
  #problem: string | undefined;
  #missingSince: number | undefined;
  #heard = performance.now();
  #restarts = 0;

  constructor(options: ReflectorOptions) {
    this.#options = options;
    this.#limits = { ...REFLECTOR_LIMITS, ...options.limits };
    const { firstRetryMs: firstMs, lastRetryMs: maxMs } = this.#limits;
    this.#backoff = new Backoff({ firstMs, maxMs, random: options.random ?? Math.random });
    this.#done = this.#run();
  }

  /** By `NAMESPACE/NAME`, as of now; undefined until the first list is whole. An object that changes is another object. */
  get objects(): ReadonlyMap<string, ApiObject> | undefined {
    return this.#objects;
  }

  /** The keys under which something else may be said, or nothing any more, than when this was called last; with `tellsChanged`. */
  takeChanged(): ReadonlySet<string> {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  /** Why the objects cannot be watched at the moment; undefined while they are. */
  get problem(): string | undefined {
    return this.#problem;
  }

  get health(): WatchHealth {
    const { kind } = this.#options.kind;
    return { kind, silenceMs: performance.now() - this.#heard, restarts: this.#restarts, objects: this.#objects?.size ?? 0 };
  }

  /** Ends it; nothing is called once it resolves. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      try {
        if (this.#position === "") await this.#list();
        else if (this.#resumes) await this.#checkPosition();
        this.#resumes = true;
        await this.#watch();
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        await this.#failed(error);
      }
    }
  }

  /** What is in the copy stays. */
  async #failed(error: unknown): Promise<void> {
    if (error instanceof Unknown) this.#heard = performance.now();
    else this.#restarts += 1;
    if (error instanceof Expired) {
      this.#position = "";
      return;
    }
    if (error instanceof Unknown) this.#missing();
    else this.#unwatched(AppError.from(error));
    // A kind that was never installed is asked for steadily, so that it is taken up when it is.
    const delay = this.#missingSince === undefined ? this.#backoff.next() : Math.min(this.#backoff.next(), this.#limits.missingRetryMs);
    await sleep(delay, undefined, { signal: this.#abort.signal }).catch(() => undefined);
  }

  #unwatched({ message, code }: AppError): void {
    this.#failingSince ??= performance.now();
    if (code === "resource-exhausted" || performance.now() - this.#failingSince > this.#limits.outageMs) this.#position = "";
    const { kind, logger, onProblem } = this.#options;
    const first = this.#problem === undefined;
    this.#problem = message;
    const name = kind.only === undefined ? {} : { object: `${kind.only.namespace}/${kind.only.name}` };
    const what = "objects cannot be watched: the last ones seen stay in force";
    logger.log(first ? "warn" : "debug", what, { kind: kind.kind, ...name, reason: message });
    if (first) onProblem?.();
  }

  /** The server does not know the kind: it was never installed, or it is starting, or it was taken away. */
  #missing(): void {
    this.#version = undefined;
    this.#position = "";
    this.#missingSince ??= performance.now();
    this.#problem ??= "the API server has no such kind";
    const empty = this.#objects === undefined || this.#objects.size === 0;
    if (!empty && performance.now() - this.#missingSince < this.#limits.vanishedMs) return;
    if (this.#objects?.size === 0) return;
    this.#options.logger.log("warn", "the API server has no such kind", { kind: this.#options.kind.kind, group: this.#options.kind.group });
    this.#replace(new Map());
  }

  #replace(objects: Map<string, ApiObject>): void {
    const before = this.#objects;
    for (const [key, { meaning }] of objects) if (before?.get(key)?.meaning !== meaning) this.#note(key);
    for (const key of before?.keys() ?? []) if (!objects.has(key)) this.#note(key);
    this.#objects = objects;
    this.#options.onChange();
  }

  #note(key: string): void {
    if (this.#options.tellsChanged === true) this.#changed.add(key);
  }

  #works(): void {
    const mended = this.#problem !== undefined;
    if (mended) this.#options.logger.log("info", "objects are watched", { kind: this.#options.kind.kind });
    this.#problem = undefined;
    this.#failingSince = undefined;
    this.#backoff.reset();
    this.#missingSince = undefined;
    if (mended) this.#options.onProblem?.();
  }

  /** The first version of the kind that the server has. */
  async #served(): Promise<string> {
    if (this.#version !== undefined) return this.#version;
    for (const version of this.#options.kind.versions) {
      const { status, body } = await this.#options.api.call("GET", collectionPath(this.#options.kind, version, "limit=1"));
      if (status === 404) continue;
      if (status !== 200) throw refused(status, body);
      this.#version = version;
      return version;
    }
    throw new Unknown();
  }

  async #list(): Promise<void> {
    const version = await this.#served();
    const found = new Map<string, ApiObject>();
    for (let [next, idle] = ["", 0]; ; ) {
      const query = `limit=${this.#limits.page}${next === "" ? "" : `&continue=${encodeURIComponent(next)}`}`;
      const { status, body } = await this.#options.api.call("GET", collectionPath(this.#options.kind, version, query));
      if (status === 410) throw new Expired();
      if (status === 404) throw new Unknown();
      if (status !== 200) throw refused(status, body);
      const page = readPage(body, this.#options.kind.kind, this.#apiVersion(version));
      const before = found.size;
      for (const object of page.items) found.set(keyOf(object), this.#known(object));
      idle = found.size === before ? idle + 1 : 0;
      if (idle > this.#limits.idlePages) throw new AppError("unavailable", "the API server sent a list that does not end");
      if (found.size > this.#limits.objects) {
        throw new AppError("resource-exhausted", `there are more than ${this.#limits.objects} objects of kind ${this.#options.kind.kind}`);
      }
      if (page.next === "") {
        this.#position = page.resourceVersion;
        this.#heard = performance.now();
        this.#works();
        return this.#replace(found);
      }
      next = page.next;
    }
  }

  /**
   * A server whose state was restored from an older one is not at this position yet, and says nothing to a watch from there until it is, as if
   * nothing happened. Resource versions are compared as numbers (KEP-5504); what is none is not compared.
   */
  async #checkPosition(): Promise<void> {
    const { status, body } = await this.#options.api.call("GET", collectionPath(this.#options.kind, await this.#served(), "limit=1"));
    if (status === 404) throw new Unknown();
    if (status !== 200) throw refused(status, body);
    if (Number(readPage(body, this.#options.kind.kind, this.#apiVersion(await this.#served())).resourceVersion) < Number(this.#position)) {
      this.#options.logger.log("warn", "the API server is at an older state than before: everything is listed again", {
        kind: this.#options.kind.kind,
      });
      throw new Expired();
    }
  }

  async #watch(): Promise<void> {
    const version = await this.#served();
    const query = `watch=1&allowWatchBookmarks=true&timeoutSeconds=${this.#limits.watchSeconds}&resourceVersion=${encodeURIComponent(this.#position)}`;
    const path = collectionPath(this.#options.kind, version, query);
    const { status, lines } = await this.#options.api.watch(path, this.#abort.signal);
    if (status === 410) throw new Expired();
    if (status === 404) throw new Unknown();
    if (status !== 200) throw refused(status, undefined);
    const began = performance.now();
    this.#heard = began;
    for await (const line of lines) {
      this.#heard = performance.now();
      this.#take(this.#read(line, version));
      this.#works();
    }
    // A server that ends each watch at once must not be asked without a pause.
    if (performance.now() - began < this.#limits.firstRetryMs) throw new AppError("unavailable", "the watch ended at once");
  }

  /** Resumed where it was, a watch would bring an event that cannot be read again and again: only a list goes past it. */
  #read(line: string, version: string): WatchEvent {
    try {
      return readEvent(line, this.#options.kind.kind, this.#apiVersion(version));
    } catch (error) {
      this.#position = "";
      throw error;
    }
  }

  #apiVersion(version: string): string {
    const { group } = this.#options.kind;
    return group === "" ? version : `${group}/${version}`;
  }

  #take(event: WatchEvent): void {
    if (event.type === "ERROR") {
      if (event.code === 410) throw new Expired();
      // A watch that fails for a reason of its own may have lost an event.
      this.#position = "";
      throw new AppError("unavailable", `the watch failed: ${event.message}`);
    }
    if (event.type === "BOOKMARK") {
      this.#position = event.resourceVersion;
      return;
    }
    const object = this.#known(event.object);
    const key = keyOf(object);
    const before = this.#objects?.get(key);
    if (event.type === "DELETED") this.#objects?.delete(key);
    else this.#objects?.set(key, object);
    this.#position = object.metadata.resourceVersion;
    if (event.type !== "DELETED" && before?.meaning === object.meaning) {
      this.#options.onStatus?.();
      return;
    }
    this.#note(key);
    this.#options.onChange();
  }

  /** The object, known again where it says what its former version says. */
  #known(object: ApiObject): ApiObject {
    return withMeaning(this.#objects?.get(keyOf(object)), object, this.#options.kind.reading === "observed");
  }
}

function refused(status: number, body: unknown): AppError {
  const message = typeof body === "object" && body !== null && "message" in body ? String(body.message) : "";
  const code = status === 401 || status === 403 ? "permission-denied" : "unavailable";
  return new AppError(code, `the API server answers ${status}${message === "" ? "" : `: ${message.slice(0, 300)}`}`);
}
