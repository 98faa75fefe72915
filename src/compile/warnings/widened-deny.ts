/** DENY rules whose HTTP fields fall away on TCP ports, so that they deny more there than they say (AZ-8, VA-3). */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { attributeRow } from "../../policy/attributes.ts";
import type { Clause, Rule } from "../../policy/model.ts";
import { allClauses, type PlacedRule } from "./placed-rule.ts";

function isHttpOnly({ attribute }: Clause): boolean {
  return attributeRow(attribute).layer === 7;
}

function namesPort({ to, when }: Rule): boolean {
  const isPort = ({ attribute, negated }: Clause): boolean => attribute === "destinationPort" && !negated;
  return when.some(isPort) || (to.length > 0 && to.every((clauses) => clauses.some(isPort)));
}

/** What a TCP connection is still asked for. */
function remains(rule: Rule): boolean {
  const parts = [rule.from, rule.to, rule.when.length === 0 ? [] : [rule.when]];
  return parts.some((elements) => elements.length > 0 && elements.every((clauses) => clauses.some((clause) => !isHttpOnly(clause))));
}

export function widenedDeny({ policy, rule, name, place, selected }: PlacedRule): readonly Diagnostic[] {
  if (policy.action !== "DENY" || namesPort(rule) || !allClauses(rule).some(isHttpOnly)) return [];
  const ports = selected.flatMap(({ workload, inbound }) =>
    inbound.filter(({ protocol }) => protocol === "tcp").map(({ port }) => `${workload}:${port}`),
  );
  if (ports.length === 0) return [];
  const which = remains(rule) ? "every connection that its other fields match" : "every connection";
  const message = `DENY rule ${name} has HTTP fields, which fall away on TCP ports: it denies ${which} to ${ports.join(", ")}`;
  return [{ code: "GAR0201", message, place, help: "add `ports` with the HTTP ports to each operation of the rule" }];
}
