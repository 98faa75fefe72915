/** What a reader should know of ServiceEntries and DestinationRules, whoever their clients are. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { ruleHost } from "../mesh/destination-rules.ts";
import { meshServices, registryDiagnostics, selectsNobody } from "../mesh/registry.ts";
import { hostMatches } from "../mesh/services.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";

function emptyServices(snapshot: MeshSnapshot): readonly Diagnostic[] {
  return meshServices(snapshot)
    .filter((service) => selectsNobody(snapshot, service))
    .map(({ key, place }) => ({
      code: "GAR0101",
      message: `service \`${key}\` selects no workload: calls to it fail`,
      place,
      help: "its selector must match the labels of a workload in the same namespace",
    }));
}

/** As Istio's analyzer says of them. */
function rulesForNobody(snapshot: MeshSnapshot): readonly Diagnostic[] {
  const services = meshServices(snapshot);
  return snapshot.destinationRules
    .map((rule) => ({ rule, host: ruleHost(snapshot, rule) }))
    .filter(({ host }) => !services.some((service) => hostMatches(host, service.host)))
    .map(({ rule: { meta }, host }) => ({
      code: "GAR0401",
      message: `DestinationRule \`${meta.namespace}/${meta.name}\` is for \`${host}\`, and no Service or ServiceEntry has that host`,
      place: meta.place,
      help: "a name without a dot is a service of the rule's own namespace",
    }));
}

/** Services without endpoints, hosts that are not taken, rules without a service. */
export function checkServices(snapshot: MeshSnapshot): readonly Diagnostic[] {
  return [...emptyServices(snapshot), ...registryDiagnostics(snapshot), ...rulesForNobody(snapshot)];
}
