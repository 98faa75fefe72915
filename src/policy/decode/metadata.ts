/** Kubernetes `metadata`. */
import type { Place } from "../../core/diagnostic.ts";
import type { ObjectMeta, WrittenKind } from "../model.ts";
import { annotationName } from "./annotation-name.ts";
import { dnsLabel, dnsSubdomain } from "./kubernetes-name.ts";
import { labels, NO_LABELS } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { type Decoder, type Fields, mapOf, partialRecord, stringUpTo, text, wrong } from "./reader.ts";
import { nullable } from "./refine.ts";
import { quote } from "./report.ts";

export const DEFAULT_NAMESPACE = "default";

/** The kinds that live in no namespace. */
export function isClusterScoped(kind: WrittenKind): boolean {
  return kind === "Namespace";
}

/** The kinds whose names are part of a DNS name. */
const NAMED_BY_LABEL: ReadonlySet<WrittenKind> = new Set(["Namespace", "Service"]);

export const DRY_RUN = "istio.io/dry-run";

const annotationValue = stringUpTo(LIMITS.annotation);

const TRUE: ReadonlySet<string> = new Set(["1", "t", "T", "true", "TRUE", "True"]);
const FALSE: ReadonlySet<string> = new Set(["0", "f", "F", "false", "FALSE", "False"]);

/** The value of the annotation, as Istio reads it; undefined for what is neither. */
export function parseDryRun(value: string): boolean | undefined {
  return TRUE.has(value) ? true : FALSE.has(value) ? false : undefined;
}

const DRY_RUN_HELP = 'remove it, or set it to "false": only AuthorizationPolicies with action ALLOW or DENY can be tried';

/** VA-3. */
function annotation(kind: WrittenKind): Decoder<string> {
  return (cursor) => {
    const value = annotationValue(cursor);
    if (value === undefined || !cursor.path.endsWith(`[${JSON.stringify(DRY_RUN)}]`)) return value;
    const asked = parseDryRun(value);
    if (asked === undefined) return wrong(cursor, "GAR0007", `is neither true nor false: ${quote(value)}`, 'write "true" or "false"');
    if (asked && kind !== "AuthorizationPolicy") return wrong(cursor, "GAR0004", "is not supported", DRY_RUN_HELP);
    return value;
  };
}

const RFC_3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/;

const timestamp: Decoder<number> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const milliseconds = RFC_3339.test(value) ? Date.parse(value) : Number.NaN;
  if (!Number.isNaN(milliseconds)) return milliseconds;
  return wrong(cursor, "GAR0007", `is not a time: ${quote(value)}`, "write it as `2026-01-31T12:00:00Z`");
};

function readNamespace(fields: Fields, kind: WrittenKind): string | undefined {
  if (isClusterScoped(kind)) {
    fields.refuse({ namespace: `a ${kind} is in no namespace: remove the field` });
    return "";
  }
  fields.expect("namespace");
  return fields.has("namespace") ? fields.optional("namespace", dnsLabel) : DEFAULT_NAMESPACE;
}

/** Whether a key that nobody knows may be the namespace, misspelt: then `default` is not what was meant. */
function mayMisspellNamespace(fields: Fields, kind: WrittenKind): boolean {
  return !isClusterScoped(kind) && !fields.has("namespace") && fields.hasStranger;
}

/** Of the object at `place`. Undefined only where its name or namespace cannot be told: nothing could be put in force under it. */
export function metadata(kind: WrittenKind, place: Place): Decoder<ObjectMeta> {
  return partialRecord((fields) => {
    const name = fields.required("name", NAMED_BY_LABEL.has(kind) ? dnsLabel : dnsSubdomain);
    const namespace = readNamespace(fields, kind);
    const meta = {
      labels: fields.optional("labels", nullable(labels, NO_LABELS)) ?? NO_LABELS,
      annotations:
        fields.optional("annotations", nullable(mapOf(annotationName, annotation(kind), { max: LIMITS.annotations }), NO_LABELS)) ??
        NO_LABELS,
      created: fields.optional("creationTimestamp", nullable(timestamp, 0)) ?? 0,
      place,
    };
    // The API server's own book-keeping, in every manifest that was read back from it.
    fields.accept("uid", "resourceVersion", "generation", "managedFields", "selfLink", "ownerReferences", "finalizers");
    // An object that is being deleted holds until it is gone.
    fields.accept("deletionTimestamp", "deletionGracePeriodSeconds");
    fields.refuse({ generateName: "give the object a `name`: only an API server can generate one" });
    if (name === undefined || namespace === undefined || mayMisspellNamespace(fields, kind)) return undefined;
    return { name, namespace, ...meta };
  });
}
