/** What a reader should know of ServiceEntries and DestinationRules, whoever their clients are. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { type Client, destinationRuleOf, ruleHost } from "../mesh/destination-rules.ts";
import { type MeshService, meshServices, registryDiagnostics, selectsNobody } from "../mesh/registry.ts";
import { hostMatches } from "../mesh/services.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import type { DestinationRuleObject } from "../policy/model.ts";
import { toUpstream } from "./outbound.ts";

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

/** Addresses by which nobody's traffic is told: Istio's `addresses` are for captured traffic. */
function unusedAddresses({ workloads, serviceEntries }: MeshSnapshot): readonly Diagnostic[] {
  if (workloads.values().some(({ captured }) => captured)) return [];
  return serviceEntries
    .filter(({ addresses = [] }) => addresses.length > 0)
    .map(({ meta }) => ({
      code: "GAR0230",
      message: `\`addresses\` of ServiceEntry \`${meta.namespace}/${meta.name}\` are for captured traffic alone, and no workload is captured`,
      place: meta.place,
      help: "reach the host by an egress listener of a Sidecar, which leads to the endpoints",
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

/** What is to be told of how a client speaks to a service, whether or not one does. */
function diagnosticsOf(snapshot: MeshSnapshot, service: MeshService, client: Client | undefined): readonly Diagnostic[] {
  return service.ports.flatMap((port) => toUpstream(snapshot, client, { service, port }).diagnostics);
}

/** How a client in the rule's own namespace, whom it selects, speaks to a service; none where it follows another rule. */
function followedAt(snapshot: MeshSnapshot, rule: DestinationRuleObject, service: MeshService): readonly Diagnostic[] {
  const { namespace } = rule.meta;
  const client = { namespace, labels: rule.selector };
  if (destinationRuleOf(snapshot, client, service) !== rule) return [];
  return diagnosticsOf(snapshot, service, client);
}

/** Of hosts that no Sidecar names as yet as well: who captures traffic calls them all the same, and who writes the first Sidecar should know before. */
function insecureServices(snapshot: MeshSnapshot): readonly Diagnostic[] {
  const services = meshServices(snapshot);
  // Services are served by workloads, which have identities.
  const entries = services.filter(({ entry }) => entry?.location === "MESH_INTERNAL");
  const byItself = entries.flatMap((service) => diagnosticsOf(snapshot, service, undefined));
  const byRules = snapshot.destinationRules.flatMap((rule) => {
    const host = ruleHost(snapshot, rule);
    return services.filter((service) => hostMatches(host, service.host)).flatMap((service) => followedAt(snapshot, rule, service));
  });
  return [...byItself, ...byRules];
}

/** Services without endpoints, hosts that are not taken, rules without a service. */
export function checkServices(snapshot: MeshSnapshot): readonly Diagnostic[] {
  return [
    ...emptyServices(snapshot),
    ...registryDiagnostics(snapshot),
    ...unusedAddresses(snapshot),
    ...rulesForNobody(snapshot),
    ...insecureServices(snapshot),
  ];
}
