/** Kubernetes `admission.k8s.io/v1` AdmissionReview: what the API server asks of a webhook, and what it is answered. */
import { AppError } from "../../core/error.ts";

type Plain = Readonly<Record<string, unknown>>;

export interface AdmissionRequest {
  readonly uid: string;
  /** The cluster whose API server asks, by the path that its webhook configuration names; undefined: the configuration's own. It proves nothing. */
  readonly cluster?: string;
  readonly kind: { readonly group: string; readonly version: string; readonly kind: string };
  /** Empty for objects of the cluster itself. */
  readonly namespace: string;
  readonly operation: "CREATE" | "UPDATE" | "DELETE" | "CONNECT";
  /** As it would be kept; undefined for what is deleted. */
  readonly object: Plain | undefined;
}

/** RFC 6902, as far as webhooks use it. */
export type JsonPatchOperation =
  | { readonly op: "add" | "replace" | "test"; readonly path: string; readonly value: unknown }
  | { readonly op: "remove"; readonly path: string };

export type AdmissionVerdict =
  | { readonly allowed: true; readonly warnings?: readonly string[]; readonly patch?: readonly JsonPatchOperation[] }
  | {
      readonly allowed: false;
      readonly message: string;
      readonly causes: readonly AdmissionCause[];
      readonly warnings?: readonly string[];
    };

/** `metav1.StatusCause`: one thing that is wrong. */
export interface AdmissionCause {
  /** A code of ours. */
  readonly reason: string;
  readonly message: string;
}

/** Decides on one object. It must not wait for anybody. */
export type AdmissionHandler = (request: AdmissionRequest) => AdmissionVerdict;

const API_VERSION = "admission.k8s.io/v1";
const OPERATIONS: ReadonlySet<unknown> = new Set(["CREATE", "UPDATE", "DELETE", "CONNECT"]);
/** What an API server passes on: longer warnings, and more of them, are cut there. */
const MAX_WARNINGS = 16;
const MAX_WARNING = 250;

function isPlain(value: unknown): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textOf(record: unknown, key: string): string {
  const value = isPlain(record) ? record[key] : undefined;
  return typeof value === "string" ? value : "";
}

function isOperation(text: string): text is AdmissionRequest["operation"] {
  return OPERATIONS.has(text);
}

/** Throws `invalid-argument` for what is no review. */
export function readReview(value: unknown, cluster?: string): AdmissionRequest {
  const request = isPlain(value) ? value.request : undefined;
  const uid = textOf(request, "uid");
  const operation = textOf(request, "operation");
  if (textOf(value, "apiVersion") !== API_VERSION || !isPlain(request) || uid === "" || !isOperation(operation)) {
    throw new AppError("invalid-argument", `the body is no AdmissionReview of ${API_VERSION}`);
  }
  const { kind } = request;
  return {
    uid,
    ...(cluster === undefined ? {} : { cluster }),
    kind: { group: textOf(kind, "group"), version: textOf(kind, "version"), kind: textOf(kind, "kind") },
    namespace: textOf(request, "namespace"),
    operation,
    object: isPlain(request.object) ? request.object : undefined,
  };
}

function shortened(warnings: readonly string[]): readonly string[] {
  const short = warnings.slice(0, MAX_WARNINGS).map((text) => (text.length > MAX_WARNING ? `${text.slice(0, MAX_WARNING)}…` : text));
  return warnings.length > MAX_WARNINGS ? [...short, `and ${warnings.length - MAX_WARNINGS} more`] : short;
}

function answerOf(verdict: AdmissionVerdict): Plain {
  if (!verdict.allowed) {
    const { message, causes } = verdict;
    return { allowed: false, status: { code: 422, reason: "Invalid", message, details: { causes } } };
  }
  const { patch = [] } = verdict;
  if (patch.length === 0) return { allowed: true };
  return { allowed: true, patchType: "JSONPatch", patch: Buffer.from(JSON.stringify(patch)).toString("base64") };
}

/** The review that answers. */
export function reviewOf(uid: string, verdict: AdmissionVerdict): Plain {
  const warnings = shortened(verdict.warnings ?? []);
  const response = { uid, ...answerOf(verdict), ...(warnings.length === 0 ? {} : { warnings }) };
  return { apiVersion: API_VERSION, kind: "AdmissionReview", response };
}
