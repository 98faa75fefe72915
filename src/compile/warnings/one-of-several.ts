/** PeerAuthentications that are in force nowhere, or not everywhere, since another one of their scope is (PA-2). */
import type { Diagnostic } from "../../core/diagnostic.ts";
import type { Workload } from "../../mesh/snapshot.ts";
import type { PeerAuthenticationObject } from "../../policy/model.ts";
import { named } from "./placed-rule.ts";

interface PeerSelection {
  readonly policy: PeerAuthenticationObject;
  readonly workloads: readonly Workload[];
}

const HELP = "join the two into one: of several for one scope the oldest alone holds, and of one age the first by name";

function keyOf({ meta }: PeerAuthenticationObject): string {
  return `\`${meta.namespace}/${meta.name}\``;
}

function ignored(policy: PeerAuthenticationObject, winner: PeerAuthenticationObject, where: string): Diagnostic {
  const message = `PeerAuthentication ${keyOf(policy)} is ignored${where}: ${keyOf(winner)} is for the same, and comes first`;
  return { code: "GAR0213", message, place: policy.meta.place, help: HELP };
}

/** Of a namespace, or the mesh. */
function besideAnother(policies: readonly PeerAuthenticationObject[]): readonly Diagnostic[] {
  const first = new Map<string, PeerAuthenticationObject>();
  return policies.flatMap((policy) => {
    const winner = first.get(policy.meta.namespace);
    if (winner !== undefined) return [ignored(policy, winner, "")];
    first.set(policy.meta.namespace, policy);
    return [];
  });
}

/** Of workloads that several select. */
function besideAnotherSelector(selections: readonly PeerSelection[]): readonly Diagnostic[] {
  const first = new Map<string, PeerAuthenticationObject>();
  return selections.flatMap(({ policy, workloads }) => {
    const lost = workloads.filter(({ key }) => first.has(key));
    for (const { key } of workloads) if (!first.has(key)) first.set(key, policy);
    const [one] = lost;
    const winner = one && first.get(one.key);
    return winner === undefined ? [] : [ignored(policy, winner, ` at ${named(lost.map(({ key }) => key))}`)];
  });
}

/** `selections`: in the order in which the policies count, oldest first. */
export function shadowedModes(selections: readonly PeerSelection[]): readonly Diagnostic[] {
  const wide = selections.map(({ policy }) => policy).filter(({ selector }) => selector.size === 0);
  return [...besideAnother(wide), ...besideAnotherSelector(selections.filter(({ policy }) => policy.selector.size > 0))];
}
