/** `garrison check` of a cluster, in the manner of `linkerd check`. */
import { BEFORE } from "../install/checks/before.ts";
import { type Check, type Result, runChecks } from "../install/checks/check.ts";
import { INSTALLED, OF_PROXIES } from "../install/checks/installed.ts";
import { openKubernetesApi } from "../sources/kubernetes/api.ts";
import type { ParsedArguments } from "./command.ts";
import { EXIT, type ExitCode } from "./exit.ts";
import { namespaceOf } from "./install-options.ts";

const SIGNS: Readonly<Record<Result["state"], string>> = { ok: "√", warning: "‼", failed: "×" };
/** With a heading for each check. */
const PAGE = "docs/tasks/kubernetes-install.md";

/** The checks that a command line asks for, each once; none where it asks of no cluster. */
export function clusterChecks(parsed: ParsedArguments): readonly Check[] {
  const groups = { pre: BEFORE, kubernetes: INSTALLED, proxy: OF_PROXIES };
  return [...new Set(Object.entries(groups).flatMap(([flag, checks]) => (parsed.flag(flag) ? checks : [])))];
}

function format({ id, title, state, detail, hint }: Result): string {
  const lines = [`${SIGNS[state]} ${title}`, ...(detail === undefined ? [] : [`    ${detail}`])];
  return [...lines, ...(hint === undefined ? [] : [`    hint: ${hint}`, `    see ${PAGE}#${id}`])].join("\n");
}

/** Makes the checks and prints each. Throws `not-found` and `invalid-configuration` for a kubeconfig that cannot be used. */
export async function checkCluster(parsed: ParsedArguments, checks: readonly Check[]): Promise<ExitCode> {
  const api = await openKubernetesApi({ file: parsed.value("kubeconfig") });
  const isJson = parsed.flag("json");
  const options = { api, namespace: namespaceOf(parsed), now: Date.now() };
  const results = await runChecks(checks, options, (result) =>
    process.stdout.write(`${isJson ? JSON.stringify(result) : format(result)}\n`),
  );
  const count = (state: Result["state"]): number => results.filter((result) => result.state === state).length;
  if (!isJson) process.stdout.write(`\n${count("ok")} well, ${count("warning")} to know, ${count("failed")} wrong\n`);
  return count("failed") === 0 ? EXIT.ok : EXIT.no;
}
