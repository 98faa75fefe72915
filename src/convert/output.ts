/** Objects of today's kinds on their way out: named, annotated, and read once by the decoder that will read them again. */
import { type Diagnostic, type Place, severityOf } from "../core/diagnostic.ts";
import { decodeObject } from "../policy/decode/decode.ts";
import { DEFAULT_NAMESPACE, DRY_RUN } from "../policy/decode/metadata.ts";
import { childOf, type RawNode, textOf } from "../policy/decode/raw-node.ts";
import type { Report } from "../policy/decode/report.ts";
import type { ObjectMeta, Selector } from "../policy/model.ts";
import type { OldObject } from "./old-objects.ts";

/** What YAML and JSON have in common. */
export type Json = string | number | boolean | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = Readonly<Record<string, Json>>;

/** Something that changed, or that must be known about a conversion. */
export interface Note {
  readonly place: Place;
  /** Lower case, no full stop. */
  readonly message: string;
}

export interface ConvertedObject {
  /** The document that it stands for: the first of several. */
  readonly source: Place;
  readonly object: JsonObject;
  readonly notes: readonly Note[];
}

type Kind = "PeerAuthentication" | "RequestAuthentication" | "AuthorizationPolicy";

export interface Draft {
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
  readonly spec: JsonObject;
  readonly dryRun?: boolean;
  /** The old objects that it comes of; its labels and annotations are the first one's. */
  readonly sources: readonly [OldObject, ...OldObject[]];
  readonly notes: readonly Note[];
}

/** Says what `kubectl apply` applied before. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

function metadataOf(draft: Draft, name: string, { labels, annotations }: ObjectMeta): JsonObject {
  const kept = [...annotations].filter(([key]) => key !== LAST_APPLIED && key !== DRY_RUN);
  const all = Object.fromEntries(draft.dryRun === true ? [...kept, [DRY_RUN, "true"]] : kept);
  return {
    name,
    namespace: draft.namespace,
    ...(labels.size > 0 ? { labels: Object.fromEntries(labels) } : {}),
    ...(Object.keys(all).length > 0 ? { annotations: all } : {}),
  };
}

function toRaw(value: Json, place: Place): RawNode {
  if (typeof value !== "object") return { kind: "scalar", value, place };
  if (Array.isArray(value)) return { kind: "list", items: value.map((item: Json) => toRaw(item, place)), place };
  return { kind: "map", entries: Object.entries(value).map(([key, child]) => ({ key, place, value: toRaw(child, place) })), place };
}

/** Valid today, and more than Garrison has. */
function isLack({ code }: Diagnostic): boolean {
  return code === "GAR0002" || code === "GAR0004";
}

/** `selector: {matchLabels}`; nothing where it selects all. */
export function selectorField(selector: Selector): JsonObject {
  return selector.size === 0 ? {} : { selector: { matchLabels: Object.fromEntries(selector) } };
}

/** Gathers what a conversion makes. */
export class Output {
  readonly #names: Set<string>;
  readonly objects: ConvertedObject[] = [];
  readonly #sources = new Set<Report>();

  /** `documents` are those that stay: their names are taken. */
  constructor(documents: readonly RawNode[]) {
    this.#names = new Set(documents.map(keyOf));
  }

  /** Adds an object, unless today's API would refuse it; then its sources are told why. */
  add(draft: Draft): void {
    const [first] = draft.sources;
    const name = this.#free(draft);
    const apiVersion = "security.istio.io/v1";
    const object: JsonObject = { apiVersion, kind: draft.kind, metadata: metadataOf(draft, name, first.meta), spec: draft.spec };
    const { diagnostics } = decodeObject(toRaw(object, first.meta.place));
    const errors = diagnostics.filter((diagnostic) => severityOf(diagnostic) === "error");
    const refused = errors.filter((diagnostic) => !isLack(diagnostic));
    for (const { code, message, help } of refused)
      first.report.add(code, first.meta.place, `${first.label} has no equal: ${message}`, help);
    if (refused.length > 0) return;
    for (const { report } of draft.sources) this.#sources.add(report);
    this.#names.add(`${draft.kind} ${draft.namespace}/${name}`);
    const origin: Note = { place: first.meta.place, message: `was ${draft.sources.map(({ label }) => label).join(" and ")}` };
    const lacks = errors.map(
      ({ place, message }): Note => ({ place, message: `garrison refuses this object until it supports it: ${message}` }),
    );
    this.objects.push({ source: first.meta.place, object, notes: [origin, ...draft.notes, ...lacks] });
  }

  /** Whether anything came of an old object, by its report. */
  has(report: Report): boolean {
    return this.#sources.has(report);
  }

  #free({ kind, namespace, name }: Draft): string {
    for (let number = 1; ; number++) {
      const candidate = number === 1 ? name : `${name}-${number}`;
      if (!this.#names.has(`${kind} ${namespace}/${candidate}`)) return candidate;
    }
  }
}

function keyOf(node: RawNode): string {
  const meta = childOf(node, "metadata");
  return `${textOf(childOf(node, "kind"))} ${textOf(childOf(meta, "namespace")) ?? DEFAULT_NAMESPACE}/${textOf(childOf(meta, "name"))}`;
}
