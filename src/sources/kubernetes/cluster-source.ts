/** A Kubernetes cluster as a configuration that follows every change. */
import { performance } from "node:perf_hooks";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { ConfigurationSnapshot, DecodedDocument } from "../snapshot.ts";
import type { KubernetesApi } from "./api.ts";
import type { ApiObject } from "./api-objects.ts";
import { documentOf } from "./cluster-documents.ts";
import { type Account, accountsOf, entriesOf, type WorkloadEntryFound, type WrittenObject, writtenObject } from "./found-objects.ts";
import { PlacedPods } from "./placed-pods.ts";
import { Reflector, type ReflectorOptions, type WatchHealth } from "./reflector.ts";
import { SecretWatches } from "./secret-watches.ts";
import { type NamedDocument, SettledObjects } from "./settled-objects.ts";
import type { WatchedKind } from "./watched-kinds.ts";

/** Between one snapshot and the next while changes keep coming; the first change is told at once. */
const STORM_MS = 50;

export interface ClusterSourceOptions {
  readonly api: KubernetesApi;
  readonly logger: Logger;
  readonly kinds: readonly WatchedKind[];
  /** The name of a cluster that is not the configuration's own: its pods and what leads to them are told by it. */
  readonly cluster?: string;
  /** Called with the first snapshot before `watchCluster` resolves, and then with each that differs. */
  readonly onSnapshot: (snapshot: ConfigurationSnapshot) => void;
  /** When `problem` begins or ends. */
  readonly onProblem?: () => void;
  /** Ends the wait for the first snapshot. */
  readonly signal?: AbortSignal;
  readonly limits?: ReflectorOptions["limits"];
}

export interface ClusterSource {
  /** What is in force now. */
  readonly current: ConfigurationSnapshot;
  /** Why something of it cannot be watched at the moment; undefined while all can. */
  readonly problem: string | undefined;
  /** Of each kind; Secrets are no part of it. */
  watches(): readonly WatchHealth[];
  /** Takes in these Secrets, by `NAMESPACE/NAME`, and no others. Nothing waits for them. */
  wantSecrets(names: ReadonlySet<string>): void;
  /** The service accounts that are, without those that are being deleted. */
  accounts(): readonly Account[];
  /** The WorkloadEntries, as the server has them. */
  entries(): readonly WorkloadEntryFound[];
  /** Where the pods are. */
  readonly pods: PlacedPods;
  /** The objects of Istio's kinds, as the server has them, with what became of each. */
  written(): readonly WrittenObject[];
  /** Calls `listener` when the status of such an object was changed. */
  onStatus(listener: () => void): void;
  /** Ends watching; nothing is called once it resolves. */
  close(): Promise<void>;
}

function isNamed(document: DecodedDocument): document is NamedDocument {
  return document.key !== undefined;
}

class Watching implements ClusterSource {
  readonly #options: ClusterSourceOptions;
  readonly #reflectors: readonly { readonly kind: WatchedKind; readonly reflector: Reflector }[];
  readonly #secrets: SecretWatches;
  readonly pods = new PlacedPods(() => this.#objectsOf("Pod"));
  readonly #settled = new SettledObjects();
  /** Under which key what the server has under a name was told last. */
  readonly #named = new Map<WatchedKind, Map<string, string>>();
  #toldSecrets: ReadonlyMap<string, NamedDocument> = new Map();
  /** By its meaning, an object is decoded once. */
  readonly #decoded = new WeakMap<object, { readonly document: DecodedDocument | undefined }>();
  readonly #first = Promise.withResolvers<void>();
  #current: ConfigurationSnapshot | undefined;
  readonly #statusListeners: (() => void)[] = [];
  #cancel: () => void = () => undefined;
  #waiting = false;
  #last = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: ClusterSourceOptions) {
    this.#options = options;
    const { api, logger, limits, kinds } = options;
    const onChange = (): void => this.#changed();
    const onProblem = (): void => this.#problemChanged();
    const onStatus = (): void => {
      for (const listener of this.#statusListeners) listener();
    };
    const more = limits === undefined ? {} : { limits };
    this.#secrets = new SecretWatches({ api, logger, onChange, ...more });
    this.#reflectors = kinds.map((kind) => ({
      kind,
      reflector: new Reflector({ api, kind, logger, tellsChanged: true, onChange, onStatus, onProblem, ...more }),
    }));
  }

  get current(): ConfigurationSnapshot {
    if (this.#current === undefined) throw new AppError("internal", "the cluster has not been read yet");
    return this.#current;
  }

  get problem(): string | undefined {
    return this.#reflectors.map(({ reflector }) => reflector.problem).find((problem) => problem !== undefined);
  }

  watches(): readonly WatchHealth[] {
    const byKind = Map.groupBy(
      this.#reflectors.map(({ reflector }) => reflector.health),
      ({ kind }) => kind,
    );
    return [...byKind].map(([kind, all]) => ({
      kind,
      silenceMs: Math.max(...all.map(({ silenceMs }) => silenceMs)),
      restarts: all.reduce((sum, { restarts }) => sum + restarts, 0),
      objects: all.reduce((sum, { objects }) => sum + objects, 0),
    }));
  }

  #problemChanged(): void {
    if (!this.#closed) this.#options.onProblem?.();
  }

  async start(): Promise<this> {
    const { signal } = this.#options;
    const ended = (): void => this.#first.reject(new AppError("unavailable", "the cluster was never read: the wait was ended"));
    signal?.addEventListener("abort", ended, { once: true });
    if (signal?.aborted) ended();
    try {
      await this.#first.promise;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      signal?.removeEventListener("abort", ended);
    }
    return this;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel();
    await Promise.all([this.#secrets.close(), ...this.#reflectors.map(({ reflector }) => reflector.close())]);
  }

  onStatus(listener: () => void): void {
    this.#statusListeners.push(listener);
  }

  written(): readonly WrittenObject[] {
    return this.#reflectors
      .filter(({ kind }) => kind.group.endsWith(".istio.io"))
      .flatMap(({ kind, reflector }) => [...(reflector.objects?.values() ?? [])].map((object) => this.#written(kind, object)))
      .filter((written) => written !== undefined);
  }

  /** Undefined for an object of which another form is being told just now. */
  #written(kind: WatchedKind, object: ApiObject): WrittenObject | undefined {
    const key = this.#decoded.get(object.meaning)?.document?.key;
    const found = key === undefined ? undefined : this.#settled.statusOf(key);
    return found === undefined ? undefined : writtenObject(kind, object, found);
  }

  entries(): readonly WorkloadEntryFound[] {
    return this.#reflectors
      .filter(({ kind }) => kind.kind === "WorkloadEntry")
      .flatMap(({ kind, reflector }) => entriesOf(kind, reflector.objects?.values() ?? []));
  }

  #objectsOf(name: string): ReadonlyMap<string, ApiObject> | undefined {
    return this.#reflectors.find(({ kind }) => kind.kind === name)?.reflector.objects;
  }

  accounts(): readonly Account[] {
    return accountsOf(this.#objectsOf("ServiceAccount")?.values() ?? []);
  }

  wantSecrets(names: ReadonlySet<string>): void {
    if (!this.#closed) this.#secrets.want(names);
  }

  /** A burst is one snapshot: what one answer brings is read whole before anything is told. */
  #changed(): void {
    this.pods.changed();
    if (this.#closed || this.#waiting) return;
    this.#waiting = true;
    const delay = Math.max(0, this.#last + STORM_MS - performance.now());
    const publish = (): void => {
      this.#waiting = false;
      this.#publish();
    };
    if (delay > 0) {
      const timer = setTimeout(publish, delay);
      this.#cancel = () => clearTimeout(timer);
    } else {
      const immediate = setImmediate(publish);
      this.#cancel = () => clearImmediate(immediate);
    }
  }

  /** What is said now of what has changed, by key; undefined of what is gone. Nothing else is looked at. */
  #changes(): ReadonlyMap<string, NamedDocument | undefined> {
    const changes = new Map<string, NamedDocument | undefined>();
    for (const { kind, reflector } of this.#reflectors) {
      const named = this.#named.get(kind) ?? new Map<string, string>();
      this.#named.set(kind, named);
      for (const name of reflector.takeChanged()) {
        const before = named.get(name);
        if (before !== undefined) changes.set(before, undefined);
        named.delete(name);
        const document = this.#namedDocument(kind, reflector.objects?.get(name));
        if (document === undefined) continue;
        changes.set(document.key, document);
        named.set(name, document.key);
      }
    }
    this.#changedSecrets(changes);
    return changes;
  }

  /** They are few, and which of them can be used is known of all together. */
  #changedSecrets(changes: Map<string, NamedDocument | undefined>): void {
    const documents = this.#secrets.usable.flatMap(({ kind, reflector }) =>
      [...(reflector.objects?.values() ?? [])].map((object) => this.#namedDocument(kind, object)),
    );
    const now = new Map(documents.filter((document) => document !== undefined).map((document) => [document.key, document]));
    for (const key of this.#toldSecrets.keys()) if (!now.has(key)) changes.set(key, undefined);
    for (const [key, document] of now) if (this.#toldSecrets.get(key) !== document) changes.set(key, document);
    this.#toldSecrets = now;
  }

  #namedDocument(kind: WatchedKind, object: ApiObject | undefined): NamedDocument | undefined {
    const document = object === undefined ? undefined : this.#decode(kind, object);
    return document !== undefined && isNamed(document) ? document : undefined;
  }

  #decode(kind: WatchedKind, object: ApiObject): DecodedDocument | undefined {
    const known = this.#decoded.get(object.meaning);
    if (known !== undefined) return known.document;
    const document = documentOf(kind, object, this.#options.cluster);
    this.#decoded.set(object.meaning, { document });
    return document;
  }

  /** Nothing is in force before every kind has been read: half a state could lack just the DENY. Secrets alone may come later, since without them a server is closed. */
  #publish(): void {
    if (this.#reflectors.some(({ reflector }) => reflector.objects === undefined)) return;
    this.#last = performance.now();
    this.#settled.take(this.#changes());
    const snapshot = this.#settled.snapshot(this.#secrets.diagnostics);
    this.#current = snapshot;
    try {
      this.#options.onSnapshot(snapshot);
    } catch (thrown) {
      this.#options.logger.log("error", "a configuration could not be put in force", { reason: AppError.from(thrown).message });
    }
    this.#first.resolve();
  }
}

/**
 * Watches a cluster. Resolves once its first snapshot has been told; while the API server is away it waits, and afterwards what was
 * seen last stays in force. Throws `unavailable` when `signal` ends the wait.
 */
export function watchCluster(options: ClusterSourceOptions): Promise<ClusterSource> {
  return beginWatching(options).first;
}

/** The same, with the source at once: it has no state before `first`. */
export function beginWatching(options: ClusterSourceOptions): { readonly source: ClusterSource; readonly first: Promise<ClusterSource> } {
  const source = new Watching(options);
  return { source, first: source.start() };
}
