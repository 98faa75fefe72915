/** Rules of HTTP at TCP ports: DENY loses the fields and so denies more than it says, ALLOW allows nothing there (AZ-8, VA-3). */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { named, type PlacedRule } from "./placed-rule.ts";
import { atListener, clausesOf, isHttpOnly, listenersOf, onPort, outcomeOf, type RuleBody } from "./reach.ts";
import { unsaidProtocol } from "./unsaid-protocol.ts";

/** TCP ports where HTTP fields fall away from the rule, and whether anything else is asked there. */
function widenedPorts({ rule, selected }: PlacedRule) {
  return selected.flatMap(({ workload, inbound }) =>
    inbound.flatMap((listener) => {
      const here = listener.protocol === "tcp" ? onPort(rule, listener.port) : undefined;
      if (here === undefined || !clausesOf(here).some(isHttpOnly)) return [];
      return [{ at: `${workload}:${listener.port}`, outcome: outcomeOf(atListener(rule, "DENY", listener)) }];
    }),
  );
}

const WIDENED = [
  ["always", "every connection"],
  ["partly", "every connection that its other fields match"],
] as const;

export function widenedDeny(placed: PlacedRule): readonly Diagnostic[] {
  if (placed.policy.action !== "DENY") return [];
  const ports = widenedPorts(placed);
  return WIDENED.flatMap(([kind, which]): Diagnostic[] => {
    const at = ports.filter(({ outcome }) => outcome === kind).map((port) => port.at);
    if (at.length === 0) return [];
    const message = `DENY rule ${placed.name} has HTTP fields, which fall away on TCP ports: it denies ${which} to ${at.join(", ")}`;
    const help = `add \`ports\` with the HTTP ports to each operation of the rule${unsaidProtocol(placed.snapshot, at)}`;
    return [{ code: "GAR0201", message, place: placed.place, help }];
  });
}

/** The ports that a rule reaches, where all of these are TCP. */
function onlyTcp(rule: RuleBody, selected: PlacedRule["selected"]): readonly string[] {
  const reached = selected.flatMap((policy) =>
    listenersOf(policy)
      .filter(({ port }) => onPort(rule, port) !== undefined)
      .map(({ port, protocol }) => ({ at: `${policy.workload}:${port}`, protocol })),
  );
  return reached.every(({ protocol }) => protocol === "tcp") ? reached.map(({ at }) => at) : [];
}

/** ALLOW rules, or single operations of them, that reach TCP ports alone. */
export function emptyAllow({ policy, rule, name, place, selected, snapshot }: PlacedRule): readonly Diagnostic[] {
  if (policy.action !== "ALLOW" || !clausesOf(rule).some(isHttpOnly)) return [];
  const operations = rule.to.length === 0 ? [rule] : rule.to.map((clauses) => ({ ...rule, to: [clauses] }));
  const ports = [...new Set(operations.flatMap((operation) => onlyTcp(operation, selected)))];
  if (ports.length === 0) return [];
  const message = `ALLOW rule ${name} has HTTP fields, which no TCP connection has: it allows nothing at ${named(ports)}`;
  const help = `allow what TCP ports need by a rule of their own, without HTTP fields${unsaidProtocol(snapshot, ports)}`;
  return [{ code: "GAR0201", message, place, help }];
}
