/** A Kubernetes cluster as a configuration that follows every change. */
import { performance } from "node:perf_hooks";
import type { Diagnostic, Place } from "../../core/diagnostic.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { Ordered } from "../../core/ordered.ts";
import { decodeObject } from "../../policy/decode/decode.ts";
import { type MeshObject, objectKey } from "../../policy/model.ts";
import { insteadOf } from "../instead.ts";
import { settle } from "../last-good.ts";
import type { ConfigurationSnapshot, DecodedDocument, ObjectState, SourceStatus } from "../snapshot.ts";
import type { KubernetesApi } from "./api.ts";
import { type ApiObject, isPlain } from "./api-objects.ts";
import { withHealth } from "./entry-health.ts";
import { objectTree } from "./object-tree.ts";
import { observe } from "./observed.ts";
import { PlacedPods } from "./placed-pods.ts";
import { withProxyConfig } from "./pod-proxy-config.ts";
import { Reflector, type ReflectorOptions } from "./reflector.ts";
import { SecretWatches } from "./secret-watches.ts";
import { objectPath, type WatchedKind } from "./watched-kinds.ts";

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
  /** Takes in these Secrets, by `NAMESPACE/NAME`, and no others. Nothing waits for them. */
  wantSecrets(names: ReadonlySet<string>): void;
  /** The service accounts that are, without those that are being deleted. */
  accounts(): readonly Account[];
  /** The WorkloadEntries, as the server has them. */
  entries(): readonly WorkloadEntryFound[];
  /** Where the pods are. */
  readonly pods: PlacedPods;
  /** The objects of Istio's kinds, as the server has them, with what became of each. */
  written(): readonly VersionedObject[];
  /** Calls `listener` when the status of such an object was changed. */
  onStatus(listener: () => void): void;
  /** Ends watching; nothing is called once it resolves. */
  close(): Promise<void>;
}

/** The very form of it that was seen. */
export type VersionedObject = WrittenObject & { readonly resourceVersion: string };

export interface WorkloadEntryFound {
  /** Its URL. */
  readonly path: string;
  readonly object: ApiObject;
}

export interface Account {
  readonly namespace: string;
  readonly name: string;
  /** Another account of the same name has another. */
  readonly uid: string;
}

/** An object that people write, with what is needed to write its status. */
export interface WrittenObject {
  /** `Kind NAMESPACE/NAME`. */
  readonly key: string;
  /** Its URL. */
  readonly path: string;
  readonly uid: string;
  readonly generation: number;
  /** As the server has it. */
  readonly status: unknown;
  /** What became of this very generation. */
  readonly state: ObjectState;
  /** What holds in its place, in words; undefined where it is in force. */
  readonly instead: string | undefined;
}

function placeOf(kind: WatchedKind, { metadata }: ApiObject, cluster: string | undefined): Place {
  const name = metadata.namespace === "" ? metadata.name : `${metadata.namespace}/${metadata.name}`;
  // No line: the message says which field.
  return { file: `${kind.kind} ${name}${cluster === undefined ? "" : ` of cluster ${cluster}`}`, line: 0, column: 0 };
}

/** What is a cluster's own, with its name. */
function ofCluster(observed: MeshObject, cluster: string): MeshObject {
  return observed.kind === "Pod" || observed.kind === "EndpointSlice" ? { ...observed, cluster } : observed;
}

function decode(kind: WatchedKind, object: ApiObject, cluster: string | undefined): DecodedDocument | undefined {
  const place = placeOf(kind, object, cluster);
  if (kind.reading === "decoded") return withHealth({ ...decodeObject(objectTree(object.body, place)), place }, object.body);
  const found = observe(kind.kind, object, place);
  if (found === undefined) return undefined;
  const observed = cluster === undefined ? found : ofCluster(found, cluster);
  const document = { valid: true, key: objectKey(observed), claim: undefined, place };
  if (observed.kind !== "Pod") return { ...document, object: observed, diagnostics: [] };
  const { pod, diagnostics } = withProxyConfig(observed, place);
  return { ...document, object: pod, diagnostics };
}

type NamedDocument = DecodedDocument & { readonly key: string };

function isNamed(document: DecodedDocument): document is NamedDocument {
  return document.key !== undefined;
}

class Watching implements ClusterSource {
  readonly #options: ClusterSourceOptions;
  readonly #reflectors: readonly { readonly kind: WatchedKind; readonly reflector: Reflector }[];
  readonly #secrets: SecretWatches;
  readonly pods = new PlacedPods(() => this.#objectsOf("Pod"));
  /** What became of each object, what of it is in force, and what is wrong with it. */
  #statuses = new Ordered<SourceStatus>();
  #objects = new Ordered<MeshObject>();
  #told = new Ordered<readonly Diagnostic[]>();
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
      reflector: new Reflector({ api, kind, logger, onChange, onStatus, onProblem, ...more }),
    }));
  }

  get current(): ConfigurationSnapshot {
    if (this.#current === undefined) throw new AppError("internal", "the cluster has not been read yet");
    return this.#current;
  }

  get problem(): string | undefined {
    return this.#reflectors.map(({ reflector }) => reflector.problem).find((problem) => problem !== undefined);
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

  written(): readonly VersionedObject[] {
    return this.#reflectors
      .filter(({ kind }) => kind.group.endsWith(".istio.io"))
      .flatMap(({ kind, reflector }) => [...(reflector.objects?.values() ?? [])].flatMap((object) => this.#versioned(kind, object)));
  }

  #versioned(kind: WatchedKind, object: ApiObject): readonly VersionedObject[] {
    const { resourceVersion } = object.metadata;
    return this.#written(kind, object).map((written) => ({ ...written, resourceVersion }));
  }

  entries(): readonly WorkloadEntryFound[] {
    const watched = this.#reflectors.find(({ kind }) => kind.kind === "WorkloadEntry");
    return [...(watched?.reflector.objects?.values() ?? [])].flatMap((object): readonly WorkloadEntryFound[] => {
      const [, version = ""] = String(object.body.apiVersion).split("/");
      return watched === undefined ? [] : [{ path: objectPath(watched.kind, version, object.metadata), object }];
    });
  }

  #objectsOf(name: string): ReadonlyMap<string, ApiObject> | undefined {
    return this.#reflectors.find(({ kind }) => kind.kind === name)?.reflector.objects;
  }

  accounts(): readonly Account[] {
    return [...(this.#objectsOf("ServiceAccount")?.values() ?? [])].flatMap(
      ({ metadata: { namespace, name }, body }): readonly Account[] => {
        const { uid, deletionTimestamp } = isPlain(body.metadata) ? body.metadata : {};
        return typeof uid === "string" && deletionTimestamp === undefined ? [{ namespace, name, uid }] : [];
      },
    );
  }

  /** None for an object of which another form is being told just now. */
  #written(kind: WatchedKind, object: ApiObject): readonly WrittenObject[] {
    const { metadata, status, apiVersion } = object.body;
    const key = this.#decoded.get(object.meaning)?.document?.key;
    const found = key === undefined ? undefined : this.#statuses.get(key);
    if (key === undefined || found === undefined || !isPlain(metadata)) return [];
    const { uid, generation } = metadata;
    if (typeof uid !== "string" || typeof generation !== "number") return [];
    const [, version = ""] = String(apiVersion).split("/");
    return [
      { key, path: objectPath(kind, version, object.metadata), uid, generation, status, state: found.state, instead: insteadOf(found) },
    ];
  }

  wantSecrets(names: ReadonlySet<string>): void {
    if (!this.#closed) void this.#secrets.want(names);
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
    const document = decode(kind, object, this.#options.cluster);
    this.#decoded.set(object.meaning, { document });
    return document;
  }

  #settle(changes: ReadonlyMap<string, NamedDocument | undefined>): void {
    const settled = [...changes].map(([key, document]) => {
      const outcome = document === undefined ? undefined : settle(key, [document], this.#statuses.get(key));
      return { key, status: outcome?.status, told: outcome?.diagnostics ?? [] };
    });
    this.#statuses = this.#statuses.with(new Map(settled.map(({ key, status }) => [key, status])));
    this.#objects = this.#objects.with(new Map(settled.map(({ key, status }) => [key, status?.object])));
    this.#told = this.#told.with(new Map(settled.map(({ key, told }) => [key, told.length === 0 ? undefined : told])));
  }

  /** Nothing is in force before every kind has been read: half a state could lack just the DENY. Secrets alone may come later, since without them a server is closed. */
  #publish(): void {
    if (this.#reflectors.some(({ reflector }) => reflector.objects === undefined)) return;
    this.#last = performance.now();
    this.#settle(this.#changes());
    const snapshot: ConfigurationSnapshot = {
      objects: this.#objects.values,
      diagnostics: [...this.#told.values.flat(), ...this.#secrets.diagnostics],
      statuses: this.#statuses.values,
      hidden: [],
    };
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
