/** The shapes of an API server's answers, read with care: what does not fit is an error, never a guess. */
import { isDeepStrictEqual } from "node:util";
import { AppError } from "../../core/error.ts";

/** An object as the server sends it. */
export interface ApiObject {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly resourceVersion: string };
  readonly body: Readonly<Record<string, unknown>>;
  /** The same for two versions of an object that say the same: what is made of one is kept by it. */
  readonly meaning: object;
}

export interface ListPage {
  readonly items: readonly ApiObject[];
  readonly resourceVersion: string;
  /** Where the next page begins; empty on the last. */
  readonly next: string;
}

export type WatchEvent =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: ApiObject }
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string }
  | { readonly type: "ERROR"; readonly code: number; readonly message: string };

type Plain = Readonly<Record<string, unknown>>;

export function isPlain(value: unknown): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unreadable(what: string): AppError {
  return new AppError("unavailable", `the API server sent ${what} that cannot be read`);
}

function textOf(record: unknown, key: string): string {
  const value = isPlain(record) ? record[key] : undefined;
  return typeof value === "string" ? value : "";
}

/** What does not say its kind is of the one that was asked for. */
function isOfKind({ kind }: Plain, asked: string): boolean {
  return kind === undefined || kind === "" || kind === asked;
}

/** `kind` and `apiVersion` are put in: items of a list come without. Throws `unavailable`. */
export function readObject(value: unknown, kind: string, apiVersion: string): ApiObject {
  if (!isPlain(value) || !isPlain(value.metadata) || !isOfKind(value, kind)) throw unreadable("an object");
  const name = textOf(value.metadata, "name");
  const resourceVersion = textOf(value.metadata, "resourceVersion");
  if (name === "" || resourceVersion === "") throw unreadable("an object");
  const metadata = { name, namespace: textOf(value.metadata, "namespace"), resourceVersion };
  return { metadata, body: { ...value, kind, apiVersion }, meaning: {} };
}

/** What the server counts up with each change of the `spec`; undefined for kinds of which it does not. */
function generationOf({ body }: ApiObject): unknown {
  return isPlain(body.metadata) ? body.metadata.generation : undefined;
}

/** The annotations of an object of an API server. */
export function annotationsOf(body: Plain): Plain {
  const { annotations } = isPlain(body.metadata) ? body.metadata : {};
  return isPlain(annotations) ? annotations : {};
}

/** A condition in an object's `status`; undefined where there is none of that type. */
export function conditionOf({ status }: Plain, type: string): Plain | undefined {
  const conditions = isPlain(status) && Array.isArray(status.conditions) ? (status.conditions as readonly unknown[]) : [];
  return conditions.filter(isPlain).find((condition) => condition.type === type);
}

/** The one condition that is read of kinds that people write: of a WorkloadEntry. */
export const HEALTHY = "Healthy";

/** What of the metadata is read, and of the status. */
function describedBy({ body }: ApiObject): string {
  const { uid, labels, annotations } = isPlain(body.metadata) ? body.metadata : {};
  const health = conditionOf(body, HEALTHY);
  return JSON.stringify([uid, labels, annotations, health?.status, health?.message]);
}

/**
 * `after` with the meaning of `before`, where nothing but bookkeeping is between them: the status, which controllers write, or nothing.
 * `hasStatus`: the kind's status is read too, so that only the whole of it being the same says the same. Versions and generations alone say nothing: a server
 * whose state was restored from an older one gives out those again that it had given to what is lost.
 */
export function withMeaning(before: ApiObject | undefined, after: ApiObject, hasStatus: boolean): ApiObject {
  if (before === undefined) return after;
  const generation = generationOf(after);
  const unchanged =
    (before.metadata.resourceVersion === after.metadata.resourceVersion && isDeepStrictEqual(before.body, after.body)) ||
    (!hasStatus &&
      generation !== undefined &&
      generation === generationOf(before) &&
      describedBy(before) === describedBy(after) &&
      isDeepStrictEqual(before.body.spec, after.body.spec));
  return unchanged ? { ...after, meaning: before.meaning } : after;
}

/** One page of a list. Throws `unavailable`. */
export function readPage(body: unknown, kind: string, apiVersion: string): ListPage {
  if (!isPlain(body) || !isPlain(body.metadata) || !isOfKind(body, `${kind}List`)) throw unreadable("a list");
  // Go writes an empty list as null.
  const items = body.items ?? [];
  const resourceVersion = textOf(body.metadata, "resourceVersion");
  if (!Array.isArray(items) || resourceVersion === "") throw unreadable("a list");
  return { items: items.map((item) => readObject(item, kind, apiVersion)), resourceVersion, next: textOf(body.metadata, "continue") };
}

/** One line of a watch. Throws `unavailable`. */
export function readEvent(line: string, kind: string, apiVersion: string): WatchEvent {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    throw unreadable("an event");
  }
  const type = textOf(event, "type");
  const object = isPlain(event) ? event.object : undefined;
  if (type === "ADDED" || type === "MODIFIED" || type === "DELETED") return { type, object: readObject(object, kind, apiVersion) };
  if (type === "BOOKMARK" && isPlain(object)) {
    const resourceVersion = textOf(object.metadata, "resourceVersion");
    if (resourceVersion !== "") return { type, resourceVersion };
  }
  if (type === "ERROR" && isPlain(object)) {
    return { type, code: typeof object.code === "number" ? object.code : 0, message: textOf(object, "message") };
  }
  throw unreadable("an event");
}
