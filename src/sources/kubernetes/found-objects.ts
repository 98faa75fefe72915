/** What others want to know of a cluster's objects as the server has them: accounts, entries, and what people wrote with what became of it. */
import { insteadOf } from "../instead.ts";
import type { ObjectState, SourceStatus } from "../snapshot.ts";
import { type ApiObject, isPlain } from "./api-objects.ts";
import { objectPath, type WatchedKind } from "./watched-kinds.ts";

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
  /** Of the very form that was seen. */
  readonly resourceVersion: string;
  /** As the server has it. */
  readonly status: unknown;
  /** What became of this very generation. */
  readonly state: ObjectState;
  /** What holds in its place, in words; undefined where it is in force. */
  readonly instead: string | undefined;
}

/** The URL of an object that people write. */
function pathOf(kind: WatchedKind, { body, metadata }: ApiObject): string {
  const [, version = ""] = String(body.apiVersion).split("/");
  return objectPath(kind, version, metadata);
}

/** The service accounts, without those that are being deleted. */
export function accountsOf(objects: Iterable<ApiObject>): readonly Account[] {
  return [...objects].flatMap(({ metadata: { namespace, name }, body }): readonly Account[] => {
    const { uid, deletionTimestamp } = isPlain(body.metadata) ? body.metadata : {};
    return typeof uid === "string" && deletionTimestamp === undefined ? [{ namespace, name, uid }] : [];
  });
}

export function entriesOf(kind: WatchedKind, objects: Iterable<ApiObject>): readonly WorkloadEntryFound[] {
  return [...objects].map((object) => ({ path: pathOf(kind, object), object }));
}

/** Undefined for what the server says of it in a way that nobody can write a status to. */
export function writtenObject(kind: WatchedKind, object: ApiObject, { key, ...found }: SourceStatus): WrittenObject | undefined {
  const { metadata, status } = object.body;
  const { uid, generation } = isPlain(metadata) ? metadata : {};
  if (typeof uid !== "string" || typeof generation !== "number") return undefined;
  const { resourceVersion } = object.metadata;
  const instead = insteadOf({ key, ...found });
  return { key, path: pathOf(kind, object), uid, generation, status, state: found.state, instead, resourceVersion };
}
