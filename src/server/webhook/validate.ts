/** The validating webhook: an object that the decoders do not take is refused before it is kept, in the same words. */
import { type Diagnostic, type Place, severityOf } from "../../core/diagnostic.ts";
import { decodeObject } from "../../policy/decode/decode.ts";
import { objectTree } from "../../sources/kubernetes/object-tree.ts";
import type { AdmissionHandler, AdmissionRequest } from "./admission-review.ts";

function said({ code, message, help }: Diagnostic): string {
  return `${code}: ${message}${help === undefined ? "" : ` (${help})`}`;
}

function metadataName(object: AdmissionRequest["object"]): string {
  const metadata = object?.metadata;
  const record = typeof metadata === "object" && metadata !== null ? (metadata as Readonly<Record<string, unknown>>) : {};
  return String(record.name ?? record.generateName ?? "");
}

/** A name that the API server is yet to make is none that a decoder takes; it makes good ones. */
function named(object: NonNullable<AdmissionRequest["object"]>, namespace: string): Readonly<Record<string, unknown>> {
  const { generateName: _, ...metadata } =
    typeof object.metadata === "object" && object.metadata !== null ? ({ ...(object.metadata as object) } as Record<string, unknown>) : {};
  return { ...object, metadata: { name: "generated", ...metadata, namespace } };
}

/** Policies of other clusters are not read, as in Istio: whoever writes one there must hear of it. */
function strayed({ cluster, kind }: AdmissionRequest): readonly string[] {
  if (cluster === undefined) return [];
  return [`this ${kind.kind} has no effect: policies are not read in cluster \`${cluster}\`, write it in the control plane's own cluster`];
}

/** Refuses what has an error, tells what has a warning. What is deleted is nobody's to check. */
export const validate: AdmissionHandler = (request) => {
  const { kind, namespace, object } = request;
  if (object === undefined) return { allowed: true };
  const name = metadataName(object);
  const place: Place = { file: `${kind.kind} ${namespace}/${name}`, line: 0, column: 0 };
  const { diagnostics } = decodeObject(objectTree(named(object, namespace), place));
  const errors = diagnostics.filter((each) => severityOf(each) === "error");
  const warnings = [...strayed(request), ...diagnostics.filter((each) => severityOf(each) === "warning").map(said)];
  if (errors.length === 0) return { allowed: true, warnings };
  const causes = errors.map(({ code, message }) => ({ reason: code, message }));
  return { allowed: false, message: errors.map(said).join("; "), causes, warnings };
};
