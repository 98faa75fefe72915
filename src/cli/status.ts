import type { AuthorityStatus } from "../ca/authority.ts";
import type { FederatedDomainStatus } from "../ca/federation/federated-domain.ts";
import type { ServingStatus } from "../ca/serving.ts";
import type { JwksStatus } from "../jwks/resolver.ts";
import type { ClusterStatus } from "../server/cluster/cluster-status.ts";
import type { MeshStatus, PolicyStatus, ProxyStatus, WorkloadStatus } from "../server/status.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { describeCluster } from "./clusters/format.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";

/** What the admin socket answers to `GET /v1/status`. */
export interface StatusAnswer extends MeshStatus {
  readonly version: string;
  readonly listen: string;
  readonly trustDomain: string;
  readonly rssBytes: number;
  readonly uptimeSeconds: number;
  readonly ca: AuthorityStatus;
  readonly serving: ServingStatus;
  /** None where the configuration is a folder. */
  readonly clusters: readonly ClusterStatus[];
  readonly federation: readonly FederatedDomainStatus[];
  readonly jwks: readonly JwksStatus[];
}

function describeProxy(proxy: ProxyStatus): string {
  const refused = proxy.refused.map(({ names, message }) => `; refused ${names.join(", ")}: ${message}`).join("");
  return `${proxy.kind} (${proxy.variant}) ${proxy.state}${refused}`;
}

/** Nothing of a workload that gets calls. */
function describeHealth(health: WorkloadStatus["health"]): string {
  if (health === undefined || health.state === "healthy") return "";
  if (health.state === "unknown") return "; NO CALLS: its application has not been seen healthy yet";
  return `; NO CALLS, it is unhealthy: ${health.detail}`;
}

function describeSigner({ keyKind, serial, notAfter }: AuthorityStatus): string {
  if (notAfter === undefined) return "has certified nothing yet";
  return `${keyKind}, serial ${serial}, signs until ${new Date(notAfter).toISOString()}`;
}

function describeCa(ca: AuthorityStatus): readonly string[] {
  const { source, intermediates, roots, problem } = ca;
  const from = source === "own" ? "made here" : `from ${source}`;
  const chain = `${intermediates} intermediate${intermediates === 1 ? "" : "s"}, ${roots} root${roots === 1 ? "" : "s"}`;
  const line = `CA: ${from}, ${describeSigner(ca)}, ${chain}`;
  return problem === undefined ? [line] : [line, `  ${problem}`];
}

/** Nothing while it is renewed in time. */
function describeServing({ serial, notAfter, problem }: ServingStatus): readonly string[] {
  if (problem === undefined) return [];
  return [`NOT RENEWED: the control plane's own certificate, serial ${serial}, good until ${new Date(notAfter).toISOString()}: ${problem}`];
}

/** What should have been fetched and was not, the last time; nothing of what was. */
function describeFetching({ federation, jwks }: StatusAnswer): readonly string[] {
  const ofDomains = federation
    .filter(({ failure }) => failure !== "")
    .map(({ trustDomain, url, state, failure }) => `  the bundle of ${trustDomain} (${state}), from ${url}: ${failure}`);
  const ofKeys = jwks.flatMap(({ source, kids, error }) =>
    error === undefined ? [] : [`  the keys of ${source} (${kids.length === 0 ? "none is known" : `those of before are used`}): ${error}`],
  );
  const lines = [...ofDomains, ...ofKeys];
  return lines.length === 0 ? [] : ["", "NOT FETCHED:", ...lines];
}

/** What stands before how many enforce a policy. */
const POLICY_STATES = {
  valid: "",
  kept: "BROKEN, its last valid form is  ",
  closed: "INVALID, closed  ",
} as const satisfies Record<PolicyStatus["state"], string>;

function orNone(lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? ["  none"] : lines;
}

/** What a person reads. */
export function formatStatus(status: StatusAnswer): string {
  const width = Math.max(
    0,
    ...status.workloads.map(({ workload }) => workload.length),
    ...status.policies.map(({ policy }) => policy.length),
  );
  const workloads = status.workloads.map(
    ({ workload, identity, proxies, health }) =>
      `  ${workload.padEnd(width)}  ${identity}  ${proxies.length === 0 ? "no proxy connected" : proxies.map(describeProxy).join(", ")}${describeHealth(health)}`,
  );
  const policies = status.policies.map(
    ({ policy, state, workloads: selected, enforced }) =>
      `  ${policy.padEnd(width)}  ${POLICY_STATES[state]}enforced on ${enforced} of ${selected} workloads`,
  );
  return [
    `garrison ${status.version} on ${status.listen}, trust domain ${status.trustDomain}, up ${Math.round(status.uptimeSeconds)} s, ${Math.round(status.rssBytes / 2 ** 20)} MiB, configuration ${status.generation}`,
    ...describeCa(status.ca),
    ...describeServing(status.serving),
    ...(status.clusters.length > 1 ? ["", "Clusters:", ...status.clusters.flatMap(describeCluster).map((line) => `  ${line}`)] : []),
    ...describeFetching(status),
    "",
    "Workloads:",
    ...orNone(workloads),
    "",
    "Policies:",
    ...orNone(policies),
    ...(status.diagnostics.length > 0
      ? ["", "Problems:", ...status.diagnostics.map(({ text }) => `  ${text.replaceAll("\n", "\n  ")}`)]
      : []),
    "",
  ].join("\n");
}

export const command: Command = {
  name: "status",
  summary: "Shows the workloads, proxies and policies of a running control plane.",
  options: { state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison status", "garrison status --json"],
  run: async (parsed) => {
    const answer = await callAdmin(controlPlaneSocket(required(parsed, "state")), "GET", "/v1/status");
    process.stdout.write(parsed.flag("json") ? `${JSON.stringify(answer)}\n` : formatStatus(answer as StatusAnswer));
    return EXIT.ok;
  },
};
