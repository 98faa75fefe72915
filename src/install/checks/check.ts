/** Checks of a cluster, one line each: what holds, what does not, and what to do. */
import { AppError } from "../../core/error.ts";
import type { KubernetesApi } from "../../sources/kubernetes/api.ts";
import { refusal } from "../apply.ts";
import { list, plain } from "../plain.ts";
import type { JsonObject } from "../template.ts";

/** `warning` is worth knowing, and in nobody's way. */
type State = "ok" | "warning" | "failed";

export interface Finding {
  readonly state: State;
  /** What was found, where it is not well. */
  readonly detail?: string;
  /** What to do. */
  readonly hint?: string;
}

export const OK: Finding = { state: "ok" };

export function failed(detail: string, hint: string): Finding {
  return { state: "failed", detail, hint };
}

export function warning(detail: string, hint: string): Finding {
  return { state: "warning", detail, hint };
}

export interface CheckOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface Check {
  /** Stable, and a heading of the documentation. */
  readonly id: string;
  /** What holds where it is well. */
  readonly title: string;
  readonly run: (options: CheckOptions) => Promise<Finding>;
  /** Where it fails, nothing after it can be asked. */
  readonly first?: true;
}

export interface Result extends Finding {
  readonly id: string;
  readonly title: string;
}

/** Makes all checks in their order, and tells of each; a check that cannot be made has failed. */
export async function runChecks(
  checks: readonly Check[],
  options: CheckOptions,
  report: (result: Result) => void,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (const { id, title, run, first } of checks) {
    const finding = await run(options).catch((thrown: unknown): Finding => {
      const { message, where, help } = AppError.from(thrown);
      return failed(where === undefined ? message : `${where}: ${message}`, help ?? "look at what is above");
    });
    const result = { id, title, ...finding };
    results.push(result);
    report(result);
    if (first === true && result.state === "failed") break;
  }
  return results;
}

/** The objects at a URL; none where the kind is not there. Throws where they may not be read. */
export async function items(api: KubernetesApi, url: string): Promise<readonly JsonObject[]> {
  const answer = await api.call("GET", url);
  if (answer.status === 404) return [];
  if (answer.status !== 200) throw refusal(answer, url.split("?", 1)[0] ?? "");
  return list(plain(answer.body).items);
}

/** The first few of many names. */
export function some(names: readonly string[]): string {
  const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
  return `${names.slice(0, 5).join(", ")}${more}`;
}
