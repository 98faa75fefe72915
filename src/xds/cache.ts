/** What every proxy may see at this moment, by the key of its view. */
import { hash } from "node:crypto";
import { JoinedMap } from "../core/map-view.ts";
import type { Resource, ResourceSet } from "./resource.ts";

/** Characters of base64url: 132 bits of SHA-256, so that nobody finds two bodies of one version. */
const VERSION_LENGTH = 22;

export type ResourcesOfType = ReadonlyMap<string, Resource>;

/** The types that changed, or `all` where there was no set before. */
export type ChangedTypes = ReadonlySet<string> | "all";

export type CacheListener = (changed: ChangedTypes) => void;

const NONE: ResourcesOfType = new Map();
/** Of so few resources nothing is set up, and nothing kept, to find something of them faster. */
const FEW = 16;

function digest(content: string | Uint8Array): string {
  return hash("sha256", content, "base64url").slice(0, VERSION_LENGTH);
}

/** A resource whose version is the hash of its body, the serialized message inside the `google.protobuf.Any`. */
export function resource(name: string, body: Uint8Array): Resource {
  return { name, version: digest(body), body };
}

/** The resources of one type; none where the set has no such type. */
export function resourcesOf(set: ResourceSet, typeUrl: string): ResourcesOfType {
  return set.get(typeUrl) ?? NONE;
}

const setVersions = new WeakMap<ResourcesOfType, string>();

/** In place; a few without what `sort` sets up, since every proxy has a few of its own. */
function sorted(lines: string[]): readonly string[] {
  if (lines.length > FEW) return lines.sort();
  for (let end = 1; end < lines.length; end++) {
    const line = lines[end] ?? "";
    let at = end;
    for (; at > 0 && (lines[at - 1] ?? "") > line; at--) lines[at] = lines[at - 1] ?? "";
    lines[at] = line;
  }
  return lines;
}

function makeVersion(resources: ResourcesOfType): string {
  if (resources instanceof JoinedMap) return digest(`${versionOf(resources.own)} ${versionOf(resources.shared)}`);
  const lines: string[] = [];
  for (const { name, version } of resources.values()) lines.push(`${version} ${name}`);
  return digest(sorted(lines).join("\n"));
}

/** The version of all resources of one type together: equal for equal content joined of equal parts, whatever the order, process or time. */
export function versionOf(resources: ResourcesOfType): string {
  const known = setVersions.get(resources);
  if (known !== undefined) return known;
  const version = makeVersion(resources);
  setVersions.set(resources, version);
  return version;
}

/** What is otherwise in the second of two maps. */
export interface MapChange {
  /** Those that are new, or of another version. */
  readonly made: readonly Resource[];
  readonly gone: readonly string[];
}

/** What came before is held by nobody here: else every state would hold the one before it. */
const changes = new WeakMap<ResourcesOfType, { readonly before: WeakRef<ResourcesOfType>; readonly change: MapChange }>();
const NO_CHANGE: MapChange = { made: [], gone: [] };

function compareAll(before: ResourcesOfType, after: ResourcesOfType): MapChange {
  const made: Resource[] = [];
  for (const resource of after.values()) if (before.get(resource.name)?.version !== resource.version) made.push(resource);
  const gone: string[] = [];
  for (const name of before.keys()) if (!after.has(name)) gone.push(name);
  return { made, gone };
}

/** What both share with others is compared once for all of them. A resource may have gone from one part to the other. */
function compare(before: ResourcesOfType, after: ResourcesOfType): MapChange {
  if (!(before instanceof JoinedMap && after instanceof JoinedMap)) return compareAll(before, after);
  const [own, shared] = [changeBetween(before.own, after.own), changeBetween(before.shared, after.shared)];
  return {
    made: [...own.made, ...shared.made].filter(({ name, version }) => before.get(name)?.version !== version),
    gone: [...own.gone, ...shared.gone].filter((name) => !after.has(name)),
  };
}

/** Found once for all who have the one map and are to have the other. */
export function changeBetween(before: ResourcesOfType, after: ResourcesOfType): MapChange {
  if (before === after) return NO_CHANGE;
  if (before.size + after.size <= FEW) return compare(before, after);
  const known = changes.get(after);
  if (known?.before.deref() === before) return known.change;
  const change = compare(before, after);
  changes.set(after, { before: new WeakRef(before), change });
  return change;
}

function differs(before: ResourcesOfType, after: ResourcesOfType): boolean {
  const { made, gone } = changeBetween(before, after);
  return made.length + gone.length > 0;
}

function changedTypes(before: ResourceSet, after: ResourceSet): ReadonlySet<string> {
  const changed = new Set<string>();
  for (const [typeUrl, resources] of after) if (differs(resourcesOf(before, typeUrl), resources)) changed.add(typeUrl);
  for (const [typeUrl, resources] of before) if (!after.has(typeUrl) && resources.size > 0) changed.add(typeUrl);
  return changed;
}

const NO_TYPES: ReadonlySet<string> = new Set();

/** Immutable sets by key; whoever watches a key is told of the types that changed there, and of nothing else. */
export class ResourceCache {
  readonly #sets = new Map<string, ResourceSet>();
  readonly #outdated = new Set<string>();
  readonly #listeners = new Map<string, Set<CacheListener>>();

  get(key: string): ResourceSet | undefined {
    return this.#sets.get(key);
  }

  has(key: string): boolean {
    return this.#sets.has(key);
  }

  /** Whether there is a set of which nobody has said that another may have to take its place. */
  isCurrent(key: string): boolean {
    return this.#sets.has(key) && !this.#outdated.has(key);
  }

  /** Another set may have to take the place of this one: until it is there, or this one confirmed, nobody counts as having all of it. */
  outdate(key: string): void {
    this.#outdated.add(key);
  }

  /** The set is what it should be. */
  confirm(key: string): void {
    if (this.#outdated.delete(key)) this.#tell(key, NO_TYPES);
  }

  /** Replaces the set as a whole. An equal one changes nothing and is not kept. */
  set(key: string, set: ResourceSet): void {
    const before = this.#sets.get(key);
    const changed = before === undefined ? "all" : changedTypes(before, set);
    if (changed !== "all" && changed.size === 0) {
      this.confirm(key);
      return;
    }
    this.#outdated.delete(key);
    this.#sets.set(key, set);
    this.#tell(key, changed);
  }

  #tell(key: string, changed: ChangedTypes): void {
    for (const listener of [...(this.#listeners.get(key) ?? [])]) listener(changed);
  }

  /** Forgets the key. Streams that are open keep what they have, and get nothing more until it is set again; an empty set is what withdraws everything. */
  delete(key: string): void {
    this.#sets.delete(key);
    this.#outdated.delete(key);
  }

  /** Returns what ends the watch. */
  watch(key: string, listener: CacheListener): () => void {
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(key) === listeners) this.#listeners.delete(key);
    };
  }
}
