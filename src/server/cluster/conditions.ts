/** What a control plane says of an object in its `status`, in the manner of Istio and the Gateway API. */
import { type Diagnostic, severityOf } from "../../core/diagnostic.ts";
import type { ObjectState } from "../../sources/snapshot.ts";

/** `metav1.Condition`. */
export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
  readonly lastTransitionTime: string;
}

export interface ObjectReport {
  readonly state: ObjectState;
  /** What holds in its place, in words; undefined where it is in force. */
  readonly instead: string | undefined;
  readonly diagnostics: readonly Diagnostic[];
  /** Of a policy. */
  readonly enforcement?: { readonly workloads: number; readonly connected: number; readonly enforced: number };
}

type Said = Pick<Condition, "type" | "status" | "reason" | "message">;

/** Longer ones are nobody's to read. */
const MAX_MESSAGE = 2_000;

function texts(diagnostics: readonly Diagnostic[]): string {
  return diagnostics.map(({ code, message }) => `${code}: ${message}`).join("; ");
}

function accepted({ state, instead, diagnostics }: ObjectReport): Said {
  const errors = diagnostics.filter((each) => severityOf(each) === "error");
  const warnings = diagnostics.filter((each) => severityOf(each) === "warning");
  if (state === "current" || state === "leaving") {
    const told = [...errors, ...warnings];
    return {
      type: "Accepted",
      status: "True",
      reason: "Accepted",
      message: told.length === 0 ? "the object is in force" : `in force, but ${texts(told)}`,
    };
  }
  return {
    type: "Accepted",
    status: "False",
    reason: "Invalid",
    message: `${texts(errors)}; ${instead ?? "it is not in force"}`,
  };
}

function enforced({ workloads, connected, enforced: count }: NonNullable<ObjectReport["enforcement"]>): Said {
  const message = `selects ${workloads} ${workloads === 1 ? "workload" : "workloads"}; enforced on ${count} of ${connected} connected ${connected === 1 ? "proxy" : "proxies"}`;
  if (workloads === 0) return { type: "Enforced", status: "Unknown", reason: "NoWorkloads", message };
  if (connected === 0) return { type: "Enforced", status: "Unknown", reason: "NoProxies", message };
  return count === connected
    ? { type: "Enforced", status: "True", reason: "AllProxies", message }
    : { type: "Enforced", status: "False", reason: "SomeProxies", message };
}

function isCondition(value: unknown): value is Condition {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/** The conditions that an object has now, whoever wrote them. */
export function readConditions(status: unknown): readonly Condition[] {
  const conditions = typeof status === "object" && status !== null && "conditions" in status ? status.conditions : undefined;
  return Array.isArray(conditions) ? conditions.filter(isCondition) : [];
}

/**
 * The conditions of an object with ours among them; undefined where they are there already. A transition is a change of `status`
 * (Kubernetes API conventions, "Typical status properties"); `now` in milliseconds.
 */
export function nextConditions(
  before: readonly Condition[],
  report: ObjectReport,
  generation: number,
  now: number,
): readonly Condition[] | undefined {
  const ours = [accepted(report), ...(report.enforcement === undefined ? [] : [enforced(report.enforcement)])].map((said): Condition => {
    const known = before.find(({ type }) => type === said.type);
    const message = said.message.length > MAX_MESSAGE ? `${said.message.slice(0, MAX_MESSAGE)}…` : said.message;
    const lastTransitionTime = known?.status === said.status ? known.lastTransitionTime : new Date(now).toISOString();
    return { ...said, message, observedGeneration: generation, lastTransitionTime };
  });
  const isSame = ours.every((each) => {
    const known = before.find(({ type }) => type === each.type);
    return known !== undefined && (Object.keys(each) as (keyof Condition)[]).every((field) => known[field] === each[field]);
  });
  if (isSame) return undefined;
  const types = new Set(ours.map(({ type }) => type));
  return [...before.filter(({ type }) => !types.has(type)), ...ours];
}
