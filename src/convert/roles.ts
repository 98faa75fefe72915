/** Rules of a ServiceRole -> which workloads, and which operations on them. */
import { quote } from "../policy/decode/report.ts";
import type { Selector } from "../policy/model.ts";
import type { AccessRule, Condition, Located, ServiceRole } from "./old-objects.ts";
import type { JsonObject } from "./output.ts";
import type { RbacScope } from "./rbac-scope.ts";
import { type Service, type ServiceIndex, workloadPorts } from "./services.ts";

/** An access rule on the workloads of one selector. */
export interface Grant {
  readonly selector: Selector;
  /** The service that the selector is of; empty for all of the namespace. */
  readonly service: string;
  readonly operation: JsonObject;
  readonly when: readonly JsonObject[];
}

/** Istio's `stringMatch`: exact, `pre*`, `*suf`, `*`. */
function matchesName(value: string, pattern: string): boolean {
  if (pattern === "*") return true;
  if (pattern.endsWith("*")) return value.startsWith(pattern.slice(0, -1));
  return pattern.startsWith("*") ? value.endsWith(pattern.slice(1)) : value === pattern;
}

// === Constraints ===

const LABEL = /^destination\.labels\[(.+)\]$/;
const WHEN = /^(?:destination\.(?:ip|port)|connection\.sni|request\.headers\[.+\]|experimental\.envoy\.filters\..+\[.+\])$/;
const NAME = "destination.name";
const NAMESPACE = "destination.namespace";

function checkConstraint(constraint: Condition, role: ServiceRole): void {
  const { key, values, place } = constraint;
  if (LABEL.test(key) && values.some((value) => value.includes("*")))
    role.report.add(
      "GAR0004",
      place,
      "a pattern of a label has no equal",
      "selectors take labels by their whole value: write one role for each",
    );
  if (key === "destination.user")
    role.report.add(
      "GAR0004",
      place,
      "the constraint `destination.user` has no equal",
      "select the workloads by a label: `destination.labels[…]`",
    );
  else if (!LABEL.test(key) && !WHEN.test(key) && key !== NAME && key !== NAMESPACE)
    role.report.add(
      "GAR0004",
      place,
      `the constraint ${quote(key)} has no equal`,
      "sidecars passed over it, and so let more through: remove it if that was meant",
    );
}

/** Every choice of one value for each label. */
function labelChoices(constraints: readonly Condition[]): readonly Selector[] {
  return constraints.reduce<readonly Selector[]>(
    (choices, { key, values }) => {
      const name = LABEL.exec(key)?.[1];
      if (name === undefined) return choices;
      return choices.flatMap((choice) =>
        values.flatMap((value) => ((choice.get(name) ?? value) === value ? [new Map([...choice, [name, value]])] : [])),
      );
    },
    [new Map()],
  );
}

// === Targets ===

interface Target {
  readonly service: string;
  readonly selector: Selector;
  /** The workload's ports that count; undefined for all. */
  readonly ports: readonly string[] | undefined;
}

/** A selector takes in the workload's other ports, unless another service that the rule is not about may own them. */
function targetOf(service: Service, rest: readonly Service[], services: ServiceIndex, role: ServiceRole): Target | undefined {
  const { name, selector } = service;
  const shared = services.sharing(service).some((other) => !rest.includes(other));
  if (!shared) return { service: name, selector, ports: undefined };
  const { numbers, names } = workloadPorts(service);
  if (names.length === 0) return { service: name, selector, ports: numbers.map(String) };
  const message = `a rule for \`${name}\` alone has no equal: other services lead to its workloads, and its port ${quote(names[0] ?? "")} is only a name`;
  role.report.add("GAR0004", role.meta.place, message, "write the number as its `targetPort`");
  return undefined;
}

function checkPatterns(patterns: readonly Located<string>[], services: readonly Service[], role: ServiceRole): void {
  for (const { value, place } of patterns) {
    if (value === "*" || services.some(({ host }) => matchesName(host, value))) continue;
    const help = "give the Service along with the policies; its name is NAME.NAMESPACE.svc.cluster.local, or such with a `*`";
    role.report.add("GAR0102", place, `no Service of namespace \`${role.meta.namespace}\` is named ${quote(value)}`, help);
  }
}

function targetsOf(rule: AccessRule, role: ServiceRole, services: ServiceIndex, scope: RbacScope): readonly Target[] {
  const { namespace } = role.meta;
  const named = rule.constraints.filter(({ key }) => key === NAME).map(({ values }) => values);
  const spaces = rule.constraints.filter(({ key }) => key === NAMESPACE).map(({ values }) => values);
  if (!spaces.every((values) => values.some((value) => matchesName(namespace, value)))) return [];
  const patterns = rule.services;
  const isAll = patterns.length === 0 || patterns.some(({ value }) => value === "*");
  if (isAll && named.length === 0 && scope.holdsForAllOf(namespace)) return [{ service: "", selector: new Map(), ports: undefined }];
  const all = services.inNamespace(namespace);
  checkPatterns(patterns, all, role);
  const matching = all
    .filter(({ host }) => isAll || patterns.some(({ value }) => matchesName(host, value)))
    .filter(({ name }) => named.every((values) => values.some((value) => matchesName(name, value))))
    .filter((service) => service.selector.size > 0 && scope.holdsFor(service));
  return matching.flatMap((service) => targetOf(service, matching, services, role) ?? []);
}

// === Grants ===

/** The operation on the target's ports; undefined where both lists of ports have none in common. */
function operationOf(rule: AccessRule, ports: readonly string[] | undefined): JsonObject | undefined {
  if (ports === undefined) return rule.operation;
  const own = rule.operation.ports;
  const both = own === undefined ? ports : own.filter((port) => ports.includes(port));
  return both.length === 0 ? undefined : { ...rule.operation, ports: both };
}

/** Labels on top of a service's selector; undefined where they contradict it. */
function narrowed(selector: Selector, labels: Selector): Selector | undefined {
  if ([...labels].some(([key, value]) => (selector.get(key) ?? value) !== value)) return undefined;
  return new Map([...selector, ...labels]);
}

function grantsOfRule(rule: AccessRule, role: ServiceRole, services: ServiceIndex, scope: RbacScope): readonly Grant[] {
  for (const constraint of rule.constraints) checkConstraint(constraint, role);
  const when = rule.constraints.filter(({ key }) => WHEN.test(key)).map(({ key, values }) => ({ key, values }));
  const choices = labelChoices(rule.constraints);
  return targetsOf(rule, role, services, scope).flatMap(({ service, selector: own, ports }) => {
    const operation = operationOf(rule, ports);
    if (operation === undefined) return [];
    return choices.flatMap((choice) => {
      const selector = narrowed(own, choice);
      return selector === undefined ? [] : [{ selector, service, operation, when }];
    });
  });
}

/** What a role lets do, by workloads. Says in the role's report what has no equal. */
export function grantsOf(role: ServiceRole, services: ServiceIndex, scope: RbacScope): readonly Grant[] {
  return role.rules.flatMap((rule) => grantsOfRule(rule, role, services, scope));
}
