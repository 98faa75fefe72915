/** What people read of modes, and of the way to STRICT. */
import type { NamespaceMtls, PlaintextClient, PortMtls, StrictState, StrictStep, WorkloadMtls } from "../../analyze/mtls.ts";
import { formatPlace } from "../../core/diagnostic.ts";
import type { MtlsAnswer } from "../../server/mtls.ts";

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`;

function clientLine({ client, port, how, count, last }: PlaintextClient): string {
  if (how === "configured") return `    told to come without mutual TLS: ${client} to port ${port}, by a DestinationRule`;
  const when = last === undefined ? "" : `, last at ${new Date(last).toISOString()}`;
  return `    without identity: ${client} to port ${port}, ${plural(count, "call")}${when}`;
}

function portWords({ port, mode, by }: PortMtls): string {
  return `${port} ${mode} (${by === undefined ? "no policy" : by.name})`;
}

function workloadLines({ workload, proxy, ports, clients }: WorkloadMtls): readonly string[] {
  const bare = proxy ? "" : "  no proxy connected";
  return [`  ${workload}  ${ports.length === 0 ? "listens nowhere" : ports.map(portWords).join(", ")}${bare}`, ...clients.map(clientLine)];
}

function namespaceLines({ namespace, workloads }: NamespaceMtls): readonly string[] {
  const modes = Map.groupBy(
    workloads.flatMap(({ ports }) => ports),
    ({ mode }) => mode,
  );
  const counts = (["STRICT", "PERMISSIVE", "DISABLE"] as const).flatMap((mode) => {
    const count = modes.get(mode)?.length ?? 0;
    return count === 0 ? [] : [`${plural(count, "port")} ${mode}`];
  });
  return [`${namespace}: ${counts.length === 0 ? "no ports" : counts.join(", ")}`, ...workloads.flatMap(workloadLines), ""];
}

function footer({ since, truncated, unasked }: MtlsAnswer): readonly string[] {
  return [
    `Calls without identity are those of the record since ${new Date(since).toISOString()}.`,
    ...(truncated ? ["There are more than were looked at: ask for a shorter time by --since."] : []),
    ...unasked.map((why) => `Another replica of the control plane could not be asked, so that what it saw is missing: ${why}`),
  ];
}

/** `garrison mtls status`. */
export function formatMtlsStatus(answer: MtlsAnswer): string {
  if (answer.namespaces.length === 0) return "There are no workloads.\n";
  return `${[...answer.namespaces.flatMap(namespaceLines), ...footer(answer)].join("\n")}\n`;
}

const HEADLINES: Readonly<Record<StrictState, string>> = {
  strict: "is STRICT",
  ready: "can go STRICT now: all calls that were allowed came with an identity",
  untried: "can go STRICT as far as is known, but nothing is proven: no call was recorded there, or not every replica could be asked",
  blocked: "cannot go STRICT yet",
};

function deed({ namespace, policy }: StrictStep): string {
  if (policy === undefined)
    return `    to do: add a PeerAuthentication without selector to namespace \`${namespace}\`, with \`mtls: {mode: STRICT}\``;
  return `    to do: write \`mtls: {mode: STRICT}\` in PeerAuthentication ${policy.name} (${formatPlace(policy.place)})`;
}

function stepLines(step: StrictStep, index: number): readonly string[] {
  const { namespace, state, clients, mend, bare, kept } = step;
  return [
    `${index + 1}. ${namespace} ${HEADLINES[state]}`,
    ...clients.map(clientLine),
    ...bare.map((workload) => `    without a connected proxy: ${workload}`),
    ...(mend.length > 0 ? [`    first: ${mend.join(", ")} must come by mutual TLS, or have a proxy`] : []),
    ...(state === "strict" ? [] : [deed(step)]),
    ...kept.map(({ workload, port, mode, by }) => `    stays: ${workload} port ${port} ${mode}, by ${by?.name ?? "no policy"}`),
  ];
}

/** `garrison mtls plan`. */
export function formatMtlsPlan(answer: MtlsAnswer): string {
  const { plan } = answer;
  if (plan.length === 0) return "There are no workloads.\n";
  const done = plan.every(({ state }) => state === "strict");
  const end = done
    ? "Every namespace is STRICT. One PeerAuthentication in the root namespace says it for those to come."
    : "When all are STRICT, one PeerAuthentication in the root namespace says it for those to come.";
  return `${[...plan.flatMap(stepLines), "", end, ...footer(answer)].join("\n")}\n`;
}
