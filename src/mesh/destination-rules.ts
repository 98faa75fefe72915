/** Which DestinationRule a client follows for a service (SN-2; Istio's `PushContext.destinationRule` and its merging). */
import type { DestinationRuleObject } from "../policy/model.ts";
import { narrow } from "./recording.ts";
import { defaultExportTo, isExportedTo, type MeshService } from "./registry.ts";
import { objectsIn, rootNamespaceOf, selectorMatches } from "./selection.ts";
import { hostMatches } from "./services.ts";
import type { MeshSnapshot, Workload } from "./snapshot.ts";

/** What of a workload tells which rules are its own. */
export type Client = Pick<Workload, "namespace" | "labels">;

const NO_LABELS: ReadonlyMap<string, string> = new Map();
const anyIn = new Map<string, Client>();

/** One for each namespace, so that answers about it are found again. */
function anyClientIn(namespace: string): Client {
  const client = anyIn.get(namespace) ?? { namespace, labels: NO_LABELS };
  anyIn.set(namespace, client);
  return client;
}

/** A workload as a client. All of a namespace are the same one where no rule selects some of them, so that what they reach is found once. */
export const clientOf = narrow((snapshot, workload: Workload): Client => {
  const selects = objectsIn(snapshot, "destinationRules", workload.namespace).some(({ selector }) => selector.size > 0);
  return selects ? workload : anyClientIn(workload.namespace);
});

/** The host that a rule means: a name without a dot is a service of the rule's namespace. */
export function ruleHost(snapshot: MeshSnapshot, { host, meta }: DestinationRuleObject): string {
  return host.includes(".") || host === "*" ? host : `${host}.${meta.namespace}.svc.${snapshot.settings.clusterDomain}`;
}

/** A rule that selects clients is for those of its own namespace alone. */
function visibilityOf(snapshot: MeshSnapshot, { selector, exportTo }: DestinationRuleObject): readonly string[] {
  if (selector.size > 0) return ["."];
  return exportTo.length > 0 ? exportTo : defaultExportTo(snapshot, "destinationRules");
}

function isPrivate(snapshot: MeshSnapshot, rule: DestinationRuleObject): boolean {
  const exportTo = visibilityOf(snapshot, rule);
  return exportTo.length > 0 && exportTo.every((one) => one === "." || one === rule.meta.namespace);
}

/** The rules with the most specific host that is the service's: a whole name, then the longest suffix. */
function mostSpecific(snapshot: MeshSnapshot, rules: readonly DestinationRuleObject[], host: string): readonly DestinationRuleObject[] {
  const fitting = rules.map((rule) => ({ rule, pattern: ruleHost(snapshot, rule) })).filter(({ pattern }) => hostMatches(pattern, host));
  const rank = (pattern: string) => (pattern.startsWith("*") ? pattern.length : Number.POSITIVE_INFINITY);
  const best = Math.max(...fitting.map(({ pattern }) => rank(pattern)));
  return fitting.filter(({ pattern }) => rank(pattern) === best).map(({ rule }) => rule);
}

/** In this order: the client's namespace, the service's, the root namespace. The first with a rule for the host decides alone. */
function candidates(snapshot: MeshSnapshot, client: Client, host: string, namespace: string): readonly DestinationRuleObject[] {
  const rootNamespace = rootNamespaceOf(snapshot);
  const of = (owner: string) => objectsIn(snapshot, "destinationRules", owner);
  const own = of(client.namespace).filter((rule) => isExportedTo(visibilityOf(snapshot, rule), client.namespace, client.namespace));
  const exported = (owner: string) =>
    of(owner).filter((rule) => !isPrivate(snapshot, rule) && isExportedTo(visibilityOf(snapshot, rule), owner, client.namespace));
  const pools = [
    client.namespace === rootNamespace ? own.filter((rule) => isPrivate(snapshot, rule)) : own,
    exported(namespace),
    exported(rootNamespace),
  ];
  for (const pool of pools) {
    const found = mostSpecific(snapshot, pool, host);
    if (found.length > 0) return found;
  }
  return [];
}

/**
 * The rule in force. One that selects the client goes before one for all; of several for all, Istio merges: the oldest
 * that has a traffic policy says it.
 */
const ruleFor = narrow((snapshot, client: Client, host: string, namespace: string): DestinationRuleObject | undefined => {
  const rules = candidates(snapshot, client, host, namespace);
  const selecting = rules.filter(({ selector }) => selector.size > 0 && selectorMatches(selector, client.labels));
  const chosen = selecting.length > 0 ? selecting : rules.filter(({ selector }) => selector.size === 0);
  return chosen.find(({ trafficPolicy }) => trafficPolicy !== undefined);
});

/** Whether there is any: without one, nothing tells clients apart. */
export const hasDestinationRules = narrow(({ destinationRules }): boolean => destinationRules.length > 0);

/** The rule that a client follows for a service; undefined where none says anything of its traffic. */
export function destinationRuleOf(snapshot: MeshSnapshot, client: Client, service: MeshService): DestinationRuleObject | undefined {
  return ruleFor(snapshot, client, service.host, service.namespace);
}
