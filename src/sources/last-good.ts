/**
 * A broken edit keeps the last good state, object by object, and says so: an object that has become invalid stays in
 * force in its last valid form, and blocks no other. (Istio drops a whole reload, VA-7.)
 */
import { relative } from "node:path";
import { type Diagnostic, type Place, severityOf } from "../core/diagnostic.ts";
import { closedForm, hidesPolicy, isClosedForm } from "../policy/decode/decode.ts";
import { type MeshObject, objectKey } from "../policy/model.ts";
import { insteadOf } from "./instead.ts";
import type { ConfigurationSnapshot, DecodedDocument, FileReading, FolderReading, ObjectState, SourceStatus } from "./snapshot.ts";

/**
 * How long an object must be missing until it is gone. Writing a file empties it first, and replacing one may remove it
 * first: neither may put policies out of force for a moment, on a busy machine either, where the writer waits in between.
 */
export const REMOVAL_HOLD_MS = 300;

/** Of an error, and of a warning only where it is `always` told. */
function withConsequence(diagnostic: Diagnostic, consequence: string, always = false): Diagnostic {
  if (severityOf(diagnostic) === "warning" && !always) return diagnostic;
  return { ...diagnostic, help: `${diagnostic.help ?? "mend it"}; ${consequence}` };
}

/** An object in force that was valid once. */
function lastValid(status: SourceStatus | undefined): MeshObject | undefined {
  return status?.object === undefined || isClosedForm(status.object) ? undefined : status.object;
}

/** What is in force of an object whose present form is invalid. */
function fallback(key: string, place: Place, closed: MeshObject | undefined, previous: SourceStatus | undefined): SourceStatus {
  const valid = lastValid(previous);
  const state: ObjectState = valid !== undefined ? "kept" : closed !== undefined ? "closed" : "refused";
  return { key, state, object: valid ?? closed, place, missedAt: undefined };
}

function duplicate(key: string, place: Place, first: Place): Diagnostic {
  const message = `${key} is defined twice: also at ${first.file}:${first.line}:${first.column}`;
  return { code: "GAR0008", message, place, help: "remove one of them" };
}

function isDryRun({ object }: DecodedDocument): boolean {
  return object?.kind === "AuthorizationPolicy" && object.dryRun === true;
}

/** Two policies of one name, closed over all that either may select; enforced, unless each is a dry run. */
function closedDuplicate(documents: readonly DecodedDocument[]): MeshObject | undefined {
  const [first] = documents;
  const closed = first?.object === undefined ? undefined : closedForm(first.object);
  if (closed?.kind === "PeerAuthentication" || closed?.kind === "RequestAuthentication") return { ...closed, selector: new Map() };
  if (closed?.kind === "DestinationRule") return { ...closed, host: "*", selector: new Map(), exportTo: [] };
  if (closed?.kind !== "AuthorizationPolicy") return closed;
  const { dryRun: _, ...enforced } = closed;
  return { ...enforced, selector: new Map(), action: "DENY", ...(documents.every(isDryRun) ? { dryRun: true } : {}) };
}

interface Outcome {
  readonly status: SourceStatus;
  readonly diagnostics: readonly Diagnostic[];
}

/** What one definition, or several of one name, puts in force, given what was before. */
export function settle(
  key: string,
  documents: readonly [DecodedDocument, ...DecodedDocument[]],
  previous: SourceStatus | undefined,
): Outcome {
  const [first, ...others] = documents;
  const told = documents.flatMap((document) => document.diagnostics);
  if (others.length === 0 && first.valid) {
    return { status: { key, state: "current", object: first.object, place: first.place, missedAt: undefined }, diagnostics: told };
  }
  const closed = others.length === 0 ? first.object : closedDuplicate(documents);
  const status = fallback(key, first.place, closed, previous);
  const consequence = `until then ${insteadOf(status)}`;
  const diagnostics = [...told, ...others.map(({ place }) => duplicate(key, place, first.place))];
  return { status, diagnostics: diagnostics.map((diagnostic) => withConsequence(diagnostic, consequence)) };
}

/** What a reading is held against: what was in force, and which namespaces there are. */
interface Before {
  readonly statuses: ReadonlyMap<string, SourceStatus>;
  readonly isNamespace: (name: string) => boolean;
}

/** Whether what a document says of itself fits an object. A namespace that does not exist may be any, misspelt. */
function fits({ claim }: DecodedDocument, { kind, meta }: MeshObject, isNamespace: Before["isNamespace"]): boolean {
  if (claim === undefined) return false;
  const namespace =
    claim.namespace === undefined || claim.namespace === meta.namespace || !(claim.namespace === "" || isNamespace(claim.namespace));
  return namespace && (claim.kind ?? kind) === kind && (claim.name ?? meta.name) === meta.name;
}

/**
 * Whether a document may be an object that its file no longer shows. A valid one may only in a namespace that does not
 * exist. An invalid one that fits nothing that its file held may be any object of its kind, renamed and broken at once.
 */
function mayBe(document: DecodedDocument, object: MeshObject, { statuses, isNamespace }: Before): boolean {
  if (fits(document, object, isNamespace)) return true;
  const { claim, valid } = document;
  if (valid || claim === undefined || (claim.kind ?? object.kind) !== object.kind) return false;
  return ![...statuses.values()].some((status) => {
    const known = lastValid(status);
    return known?.meta.place.file === document.place.file && fits(document, known, isNamespace);
  });
}

/** Whether a file may still hold an object that it no longer shows: it cannot be read, or a document in it may be the object. */
function mayHold(reading: FileReading, object: MeshObject, before: Before): boolean {
  const { file } = object.meta.place;
  if (!reading.readable) return !relative(reading.file, file).startsWith("..");
  return file === reading.file && reading.documents.some((document) => mayBe(document, object, before));
}

/** What becomes of an object that no file defines; undefined once it is gone. */
function survivor(status: SourceStatus, reading: FolderReading, before: Before, now: number): SourceStatus | undefined {
  const { object } = status;
  if (object === undefined) return undefined;
  if (reading.files.some((file) => mayHold(file, object, before))) {
    return { ...status, state: isClosedForm(object) ? "closed" : "kept", missedAt: undefined };
  }
  // A file that is being written again and again may be empty whenever it is looked at.
  const missedAt = reading.written?.has(object.meta.place.file) === true ? now : (status.missedAt ?? now);
  return now - missedAt >= REMOVAL_HOLD_MS ? undefined : { ...status, state: "leaving", missedAt };
}

function definitions(reading: FolderReading): ReadonlyMap<string, [DecodedDocument, ...DecodedDocument[]]> {
  const byKey = new Map<string, [DecodedDocument, ...DecodedDocument[]]>();
  for (const document of reading.files.flatMap(({ documents }) => documents)) {
    if (document.key === undefined) continue;
    const known = byKey.get(document.key);
    if (known === undefined) byKey.set(document.key, [document]);
    else known.push(document);
  }
  return byKey;
}

/** What is wrong with files as a whole, and with documents that do not tell what they are. */
function anonymousDiagnostics(reading: FolderReading, statuses: readonly SourceStatus[], before: Before): readonly Diagnostic[] {
  const undefinedOnes = statuses.filter(({ state }) => state === "kept" || state === "closed");
  const consequence = (mayStand: (object: MeshObject) => boolean): string =>
    undefinedOnes.some(({ object }) => object !== undefined && mayStand(object))
      ? "until then what it said before stays in force"
      : "until then nothing in it is in force";
  const ofFile = (file: FileReading): string => consequence((object) => mayHold(file, object, before));
  const ofDocument = (document: DecodedDocument): string =>
    consequence((object) => object.meta.place.file === document.place.file && mayBe(document, object, before));
  return reading.files.flatMap((file) => [
    ...file.diagnostics.map((diagnostic) => withConsequence(diagnostic, ofFile(file))),
    ...file.documents
      .filter(({ key }) => key === undefined)
      .flatMap((document) =>
        document.claim === undefined
          ? document.diagnostics
          : document.diagnostics.map((diagnostic) => withConsequence(diagnostic, ofDocument(document), document.stray)),
      ),
  ]);
}

function byPlace({ place: left }: Diagnostic, { place: right }: Diagnostic): number {
  if (left.file !== right.file) return left.file < right.file ? -1 : 1;
  return left.line - right.line || left.column - right.column;
}

function byKey(left: SourceStatus, right: SourceStatus): number {
  return left.key < right.key ? -1 : 1;
}

/** Namespaces that exist without an object that says so, since somebody is in them; of keys such as `Kind NAMESPACE/NAME`. */
function inhabited(keys: Iterable<string>): readonly string[] {
  return [...keys].flatMap((key) => /^(?:ServiceAccount|WorkloadEntry) ([^/]+)\//.exec(key)?.[1] ?? []);
}

/**
 * A configuration from what the files say now and what was in force before. `now` is in milliseconds on any clock that
 * only goes forward; an object is gone once it has been missing for REMOVAL_HOLD_MS on it. `rootNamespace` exists without an
 * object that says so.
 */
export function applyLastGood(
  reading: FolderReading,
  previous?: ConfigurationSnapshot,
  now = 0,
  rootNamespace = "istio-system",
): ConfigurationSnapshot {
  const before = new Map(previous?.statuses.map((status) => [status.key, status]));
  const defined = definitions(reading);
  const implied = new Set(["default", rootNamespace, ...inhabited(defined.keys()), ...inhabited(before.keys())]);
  const isNamespace = (name: string): boolean => {
    const key = objectKey({ kind: "Namespace", meta: { namespace: "", name } });
    return implied.has(name) || defined.has(key) || before.has(key);
  };
  const context: Before = { statuses: before, isNamespace };
  const outcomes = [...defined].map(([key, documents]) => settle(key, documents, before.get(key)));
  const survivors = [...before.values()].filter(({ key }) => !defined.has(key)).map((status) => survivor(status, reading, context, now));
  const statuses = [...outcomes.map(({ status }) => status), ...survivors.filter((status) => status !== undefined)].sort(byKey);
  return {
    objects: statuses.map(({ object }) => object).filter((object) => object !== undefined),
    diagnostics: [...anonymousDiagnostics(reading, statuses, context), ...outcomes.flatMap(({ diagnostics }) => diagnostics)].sort(byPlace),
    statuses,
    hidden: reading.files.flatMap(({ documents }) => documents.filter(hidesPolicy).flatMap(({ diagnostics }) => diagnostics)),
  };
}
