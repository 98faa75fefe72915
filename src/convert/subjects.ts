/** Subjects of a ServiceRoleBinding -> sources and conditions of a rule. */
import { quote } from "../policy/decode/report.ts";
import type { Condition, OldObject, Subject } from "./old-objects.ts";
import type { JsonObject } from "./output.ts";

/** AND over both; a subject without any clause is everyone. */
export interface Caller {
  readonly source: JsonObject;
  readonly when: readonly JsonObject[];
}

/** The old names for everyone, and for everyone with an identity. */
const EVERYONE = "allUsers";
const AUTHENTICATED = "allAuthenticatedUsers";

/** Properties that sources have by a field of their own. */
const FIELD_OF_PROPERTY: Readonly<Record<string, { readonly field: string; readonly when: string }>> = {
  "source.principal": { field: "principals", when: "source.principal" },
  "source.user": { field: "principals", when: "source.principal" },
  "source.namespace": { field: "namespaces", when: "source.namespace" },
  "source.ip": { field: "ipBlocks", when: "source.ip" },
  "request.auth.principal": { field: "requestPrincipals", when: "request.auth.principal" },
};

const CONDITIONS = ["request.auth.audiences", "request.auth.presenter"];
const WITH_ARGUMENT = /^request\.(headers|auth\.claims)\[.+\]$/;
const GROUPS = "request.auth.claims[groups]";

/** Collects the clauses of one subject; a field that comes twice is a condition the second time, so that both must hold. */
class CallerBuilder {
  readonly source: Record<string, readonly string[]> = {};
  readonly when: JsonObject[] = [];

  add(field: string, when: string, values: readonly string[]): void {
    if (this.source[field] === undefined) this.source[field] = values;
    else this.when.push({ key: when, values });
  }

  /** Names of callers; one that stands for everyone leaves nothing to check. */
  addNames(values: readonly string[], everyone: readonly string[]): void {
    if (values.some((value) => everyone.includes(value))) return;
    this.add("principals", "source.principal", values.map(named));
  }
}

function named(value: string): string {
  return value === AUTHENTICATED ? "*" : value;
}

function refuse(owner: OldObject, { place }: { readonly place: Condition["place"] }, what: string, help: string): void {
  owner.report.add("GAR0004", place, `${what} has no equal`, help);
}

function addProperty(builder: CallerBuilder, property: Condition, owner: OldObject): void {
  const { key, values } = property;
  const known = Object.hasOwn(FIELD_OF_PROPERTY, key) ? FIELD_OF_PROPERTY[key] : undefined;
  if (known?.field === "principals") builder.addNames(values, [EVERYONE]);
  else if (known !== undefined) builder.add(known.field, known.when, values);
  else if (CONDITIONS.includes(key) || WITH_ARGUMENT.test(key)) builder.when.push({ key, values });
  else
    refuse(
      owner,
      property,
      `the property ${quote(key)}`,
      "sidecars took it for metadata that nothing set, so it matched nobody: remove the subject",
    );
}

function addNegatives(builder: CallerBuilder, { lists, place }: Subject, owner: OldObject): void {
  if (lists.notNames?.some((name) => name === EVERYONE || name === "*") === true)
    refuse(owner, { place }, "`notNames` that leaves out everyone", "it matched nobody: remove the subject");
  if (lists.notNames !== undefined) builder.source.notPrincipals = lists.notNames.map(named);
  if (lists.notNamespaces !== undefined) builder.source.notNamespaces = lists.notNamespaces;
  if (lists.notIps !== undefined) builder.source.notIpBlocks = lists.notIps;
  if (lists.notGroups !== undefined) builder.when.push({ key: GROUPS, notValues: lists.notGroups });
}

/** What a subject asks of a caller; undefined where it names nothing, and so matched nobody (Pilot's `convertToPrincipal`). */
export function callerOf(subject: Subject, owner: OldObject): Caller | undefined {
  const { user, group, lists, properties } = subject;
  if (user === undefined && group === undefined && properties.length === 0 && Object.keys(lists).length === 0) return undefined;
  const builder = new CallerBuilder();
  if (user !== undefined) builder.addNames([user], ["*", EVERYONE]);
  if (lists.names !== undefined) builder.addNames(lists.names, ["*", EVERYONE]);
  if (lists.namespaces !== undefined) builder.add("namespaces", "source.namespace", lists.namespaces);
  if (lists.ips !== undefined) builder.add("ipBlocks", "source.ip", lists.ips);
  if (group !== undefined) builder.when.push({ key: GROUPS, values: [group] });
  if (lists.groups !== undefined) builder.when.push({ key: GROUPS, values: lists.groups });
  addNegatives(builder, subject, owner);
  for (const property of properties) addProperty(builder, property, owner);
  return builder;
}

/** Whether a caller is told by the connection alone: such sources may stand in one rule, and hold on TCP ports too. */
function isPlain({ source, when }: Caller): boolean {
  return when.length === 0 && Object.keys(source).length > 0 && source.requestPrincipals === undefined;
}

/**
 * `from` and `when` of the rules that let these callers in. Callers by HTTP stand in rules of their own: one HTTP-only
 * field takes its whole rule from TCP ports.
 */
export function fromParts(
  callers: readonly Caller[],
): readonly { readonly from: readonly JsonObject[]; readonly when: readonly JsonObject[] }[] {
  const plain = callers.filter(isPlain).map(({ source }) => ({ source }));
  const others = callers.filter((caller) => !isPlain(caller));
  return [
    ...(plain.length > 0 ? [{ from: plain, when: [] }] : []),
    ...others.map(({ source, when }) => ({ from: Object.keys(source).length > 0 ? [{ source }] : [], when })),
  ];
}
