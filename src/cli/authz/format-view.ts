/** What is in force for a workload, as people read it: modes, policies, and rules as sentences in the order of evaluation. */
import { describeRule } from "../../analyze/words.ts";
import { type AuthorizationInForce, ruleInForce, type WorkloadView } from "../../analyze/workload-view.ts";
import { type AuthorizationLayers, LAYER_OF_ACTION } from "../../compile/workload-policy.ts";
import type { Place } from "../../core/diagnostic.ts";
import { printable } from "../../policy/decode/report.ts";
import type { PolicyAction } from "../../policy/model.ts";
import { formatOrigin } from "../../policy/origin.ts";
import { formatAddress, formatMtlsBy, formatPlace, SERVER_TLS } from "./format-answer.ts";

/** A rule in force: its origin, where it is written, and what it does, as a sentence. */
export interface RuleInForce {
  readonly rule: string;
  readonly place: Place | undefined;
  readonly sentence: string;
}

const ACTIONS: readonly PolicyAction[] = ["CUSTOM", "AUDIT", "DENY", "ALLOW"];

/** The rules of one action for one protocol, in the order in which they are asked. */
export function rulesInForce(view: WorkloadView, layers: AuthorizationLayers, action: PolicyAction): readonly RuleInForce[] {
  return (layers[LAYER_OF_ACTION[action]] ?? []).map((rule) => {
    const written = ruleInForce(view, rule.origin);
    const closed = written?.policy.closed === true ? ", since the policy is invalid" : "";
    return { rule: formatOrigin(rule.origin), place: written?.place, sentence: `${describeRule(action, rule)}${closed}` };
  });
}

/** What holds where no rule matches. */
export function otherwise({ allow }: AuthorizationLayers): string {
  return allow === undefined
    ? "everything else is allowed (no-policy): no ALLOW policy selects the workload"
    : "everything else is denied (default): an ALLOW policy selects the workload";
}

function formatRules(view: WorkloadView, layers: AuthorizationLayers): readonly string[] {
  return ACTIONS.flatMap((action) =>
    rulesInForce(view, layers, action).map(
      ({ rule, place, sentence }) => `    ${action.padEnd(5)} ${rule}${place === undefined ? "" : ` (${formatPlace(place)})`} ${sentence}`,
    ),
  );
}

/** The rules of dry runs as those of the layers that they would be in. */
export function triedLayers({ dryRun }: AuthorizationLayers): AuthorizationLayers {
  return { audit: [], deny: dryRun?.deny ?? [], allow: dryRun?.allow };
}

function formatDryRun(view: WorkloadView, protocol: string, layers: AuthorizationLayers): readonly string[] {
  if (layers.dryRun === undefined) return [];
  const rules = formatRules(view, triedLayers(layers));
  return [
    `  dry runs for ${protocol}, recorded and not enforced:`,
    ...(rules.length === 0 ? ["    no rule: an ALLOW that matches nothing"] : rules),
  ];
}

function formatLayers(view: WorkloadView, protocol: string, layers: AuthorizationLayers): readonly string[] {
  const head = `  rules for ${protocol}, in the order in which they are asked:`;
  return [head, ...formatRules(view, layers), `    ${otherwise(layers)}`, ...formatDryRun(view, protocol, layers)];
}

function formatPolicy({ action, name, place, closed, dryRun, rules }: AuthorizationInForce): string {
  const holds = closed
    ? "INVALID, and closed until it is mended"
    : rules.length === 0
      ? "no rule: matches nothing"
      : `${rules.length} ${rules.length === 1 ? "rule" : "rules"}`;
  return `    ${action.padEnd(5)} ${name} (${formatPlace(place)}): ${holds}${dryRun === true ? "; a dry run, not enforced" : ""}`;
}

/** A server of a gateway: whose TLS, for which hosts. */
function formatServers({ gateway }: WorkloadView["policy"]): readonly string[] {
  const closed = (gateway?.closed ?? []).map(
    (server) =>
      `    ${formatAddress(server)} server ${printable(server.name)}: closed, there is no usable Secret ${printable(server.secret)} here`,
  );
  const open = (gateway?.listeners ?? []).flatMap((listener) =>
    listener.servers.map(({ name, security, hosts, serverNames }) => {
      const names = serverNames.length > 0 ? serverNames : hosts.map(({ host }) => host);
      const clients = security.kind === "outside" && security.clients !== undefined ? ", with client certificates" : "";
      return `    ${formatAddress(listener)} server ${printable(name)}: ${SERVER_TLS[security.kind]}${clients}, for ${names.map(printable).join(", ") || "no host"}`;
    }),
  );
  return [...open, ...closed];
}

/** The protocols that the workload's listeners speak; both where it has none. */
export function protocolsOf({ policy }: WorkloadView): readonly ("http" | "tcp")[] {
  const gateway = (policy.gateway?.listeners ?? []).map(() => "http" as const);
  const spoken = new Set([
    ...gateway,
    ...policy.inbound.map(({ protocol }) => (protocol === "tcp" ? ("tcp" as const) : ("http" as const))),
  ]);
  return (["http", "tcp"] as const).filter((protocol) => spoken.size === 0 || spoken.has(protocol));
}

export function formatView(view: WorkloadView): string {
  const { policy, ports: modes, authorization } = view;
  const listeners = policy.inbound.map(
    ({ name, bind, port, protocol, mtls }) =>
      `    ${bind}:${port} ${protocol}: ${mtls} ${formatMtlsBy(modes.find(({ listener }) => listener === name)?.mtlsBy)}`,
  );
  const servers = formatServers(policy);
  const ports = servers.length === 0 ? ["  mutual TLS of each port:"] : ["  servers of the gateway:", ...servers];
  return [
    `${policy.workload} (${policy.identity})`,
    ...ports,
    ...(listeners.length === 0 && servers.length === 0 ? ["    it listens on no port"] : listeners),
    "  authorization policies in force, the oldest first:",
    ...(authorization.length === 0 ? ["    none"] : authorization.map(formatPolicy)),
    ...protocolsOf(view).flatMap((protocol) => formatLayers(view, protocol.toUpperCase(), policy[protocol])),
    "",
  ].join("\n");
}
