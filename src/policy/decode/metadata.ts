/** Kubernetes `metadata`. */
import type { Place } from "../../core/diagnostic.ts";
import type { ObjectMeta, WrittenKind } from "../model.ts";
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

const annotation: Decoder<string> = (cursor) => {
  const value = annotationValue(cursor);
  const isDryRun = cursor.path.endsWith(`[${JSON.stringify(DRY_RUN)}]`);
  if (!isDryRun || value === undefined || value === "false") return value;
  return wrong(cursor, "GAR0004", "is not supported", 'remove it, or set it to "false": policies are enforced or they are not there');
};

const annotations = mapOf(text, annotation, { max: LIMITS.annotations });

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
  return fields.has("namespace") ? fields.optional("namespace", dnsLabel) : DEFAULT_NAMESPACE;
}

/** Of the object at `place`. Undefined only where its name or namespace cannot be read: nothing could be put in force under it. */
export function metadata(kind: WrittenKind, place: Place): Decoder<ObjectMeta> {
  return partialRecord((fields) => {
    const name = fields.required("name", NAMED_BY_LABEL.has(kind) ? dnsLabel : dnsSubdomain);
    const namespace = readNamespace(fields, kind);
    const meta = {
      labels: fields.optional("labels", nullable(labels, NO_LABELS)) ?? NO_LABELS,
      annotations: fields.optional("annotations", nullable(annotations, NO_LABELS)) ?? NO_LABELS,
      created: fields.optional("creationTimestamp", nullable(timestamp, 0)) ?? 0,
      place,
    };
    // The API server's own book-keeping, in every manifest that was read back from it.
    fields.accept("uid", "resourceVersion", "generation", "managedFields", "selfLink", "ownerReferences", "finalizers");
    // An object that is being deleted holds until it is gone.
    fields.accept("deletionTimestamp", "deletionGracePeriodSeconds");
    fields.refuse({ generateName: "give the object a `name`: only an API server can generate one" });
    return name === undefined || namespace === undefined ? undefined : { name, namespace, ...meta };
  });
}
