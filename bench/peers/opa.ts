/**
 * OPA's own command: its answers by `opa eval`, its speed by `opa bench`, which prepares the query once and evaluates it in
 * Go, without HTTP. The rules compare attributes of the input with constants, as its guide to performance asks for, so that
 * its rule index holds.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BenchRequest, BenchRule } from "../decisions/workload.ts";
import type { Timing } from "../harness.ts";

function ruleOf({ effect, principal, namespace, method, path }: BenchRule): string {
  const who = principal === undefined ? `input.namespace == "${namespace}"` : `input.principal == "${principal}"`;
  const where = path.endsWith("*") ? `startswith(input.path, "${path.slice(0, -1)}")` : `input.path == "${path}"`;
  return `${effect} if { ${who}; input.method == "${method}"; ${where} }`;
}

function policyOf(rules: readonly BenchRule[]): string {
  return `package bench\n\ndefault allowed := false\n\nallowed if { allow; not deny }\n\n${rules.map(ruleOf).join("\n")}\n`;
}

/** `opa bench`'s answer. */
interface BenchAnswer {
  readonly N: number;
  /** Nanoseconds. */
  readonly T: number;
  readonly Extra: Readonly<Record<string, number>>;
}

/** Does something with the rules in a file of a folder, and with a way to call the command there. */
function inFolder<T>(
  path: string,
  rules: readonly BenchRule[],
  action: (call: (args: readonly string[], input: object) => unknown) => T,
): T {
  const folder = mkdtempSync(join(tmpdir(), "garrison-bench-opa-"));
  try {
    const [policy, inputFile] = [join(folder, "policy.rego"), join(folder, "input.json")];
    writeFileSync(policy, policyOf(rules));
    return action((args, input) => {
      writeFileSync(inputFile, JSON.stringify(input));
      const [command = "", ...rest] = args;
      const output = execFileSync(path, [command, "--format", "json", "--data", policy, "--input", inputFile, ...rest], {
        maxBuffer: 1 << 26,
        stdio: ["ignore", "pipe", "inherit"],
      });
      return JSON.parse(output.toString());
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Whether each request is allowed. */
export function opaAnswers(path: string, rules: readonly BenchRule[], requests: readonly BenchRequest[]): readonly boolean[] {
  return inFolder(path, rules, (call) => {
    const query = "[allowed | some request in input.requests; allowed := data.bench.allowed with input as request]";
    const answer = call(["eval", query], { requests }) as { readonly result: { readonly expressions: { readonly value: boolean[] }[] }[] };
    return answer.result[0]?.expressions[0]?.value ?? [];
  });
}

/** Over some of the requests, since each is a run of its own of about a second: the slower half of a percentile is the slowest run's. */
export function opaTiming(path: string, rules: readonly BenchRule[], requests: readonly BenchRequest[]): Timing {
  const runs = inFolder(path, rules, (call) => requests.map((request) => call(["bench", "data.bench.allowed"], request) as BenchAnswer));
  const of = (name: string): number[] =>
    runs.map(({ Extra }) => Extra[`histogram_timer_rego_query_eval_ns_${name}`] ?? Number.NaN).sort((a, b) => a - b);
  const count = runs.reduce((total, { N }) => total + N, 0);
  const nanoseconds = runs.reduce((total, { T }) => total + T, 0);
  return {
    perSecond: Math.round((count / nanoseconds) * 1e9),
    medianNs: Math.round(of("median")[runs.length >> 1] ?? 0),
    p99Ns: Math.round(of("99%").at(-1) ?? 0),
  };
}
