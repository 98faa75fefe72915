/** What is in force for a workload, as people read it: modes, policies, and rules as sentences in the order of evaluation. */
import { describeRule } from "../../analyze/words.ts";
import { type AuthorizationInForce, ruleInForce, type WorkloadView } from "../../analyze/workload-view.ts";
import { type AuthorizationLayers, LAYER_OF_ACTION } from "../../compile/workload-policy.ts";
import type { Place } from "../../core/diagnostic.ts";
import type { PolicyAction } from "../../policy/model.ts";
import { formatOrigin } from "../../policy/origin.ts";
import { formatMtlsBy, formatPlace } from "./format-answer.ts";

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

function formatLayers(view: WorkloadView, protocol: string, layers: AuthorizationLayers): readonly string[] {
  const rules = ACTIONS.flatMap((action) =>
    rulesInForce(view, layers, action).map(
      ({ rule, place, sentence }) => `    ${action.padEnd(5)} ${rule}${place === undefined ? "" : ` (${formatPlace(place)})`} ${sentence}`,
    ),
  );
  return [`  rules for ${protocol}, in the order in which they are asked:`, ...rules, `    ${otherwise(layers)}`];
}

function formatPolicy({ action, name, place, closed, rules }: AuthorizationInForce): string {
  const holds = closed
    ? "INVALID, and closed until it is mended"
    : rules.length === 0
      ? "no rule: matches nothing"
      : `${rules.length} ${rules.length === 1 ? "rule" : "rules"}`;
  return `    ${action.padEnd(5)} ${name} (${formatPlace(place)}): ${holds}`;
}

/** The protocols that the workload's listeners speak; both where it has none. */
export function protocolsOf({ policy }: WorkloadView): readonly ("http" | "tcp")[] {
  const spoken = new Set(policy.inbound.map(({ protocol }) => (protocol === "tcp" ? "tcp" : "http")));
  return (["http", "tcp"] as const).filter((protocol) => spoken.size === 0 || spoken.has(protocol));
}

export function formatView(view: WorkloadView): string {
  const { policy, ports, authorization } = view;
  const listeners = policy.inbound.map(
    ({ name, bind, port, protocol, mtls }) =>
      `    ${bind}:${port} ${protocol}: ${mtls} ${formatMtlsBy(ports.find(({ listener }) => listener === name)?.mtlsBy)}`,
  );
  return [
    `${policy.workload} (${policy.identity})`,
    "  mutual TLS of each port:",
    ...(listeners.length === 0 ? ["    it listens on no port"] : listeners),
    "  authorization policies in force, the oldest first:",
    ...(authorization.length === 0 ? ["    none"] : authorization.map(formatPolicy)),
    ...protocolsOf(view).flatMap((protocol) => formatLayers(view, protocol.toUpperCase(), policy[protocol])),
    "",
  ].join("\n");
}
