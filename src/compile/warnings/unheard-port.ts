/** Ports at which nothing listens that a rule or a mode is for. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { meshServices, servedPort } from "../../mesh/registry.ts";
import type { MeshSnapshot } from "../../mesh/snapshot.ts";
import type { PeerAuthenticationObject } from "../../policy/model.ts";
import type { ServerSide } from "../workload-policy.ts";
import { named, type PlacedRule } from "./placed-rule.ts";
import { clausesOf, listenersOf, onPort } from "./reach.ts";

type Selected = readonly ServerSide[];

/** A server of a gateway that waits for its Secret will listen: what is wrong is told of that. */
function portsOf(selected: Selected): ReadonlySet<number> {
  const closed = selected.flatMap(({ gateway }) => gateway?.closed ?? []);
  return new Set([...selected.flatMap(listenersOf), ...closed].map(({ port }) => port));
}

/** A port of a service that leads to another port of one of the workloads. */
function servicePort(snapshot: MeshSnapshot, selected: Selected, port: number) {
  const workloads = selected.flatMap(({ workload }) => snapshot.workloads.get(workload) ?? []);
  for (const service of meshServices(snapshot)) {
    for (const candidate of service.ports.filter((one) => one.port === port)) {
      const targets = workloads.flatMap((workload) => servedPort(snapshot, service, candidate, workload) ?? []);
      const target = targets.find((other) => other !== port);
      if (target !== undefined) return { service: service.key, target };
    }
  }
  return undefined;
}

/** A captured workload is met at every port, declared or not. */
function isMetEverywhere(selected: Selected): boolean {
  return selected.some(({ captured }) => captured);
}

/** Why nothing listens on a port, and what to write instead. */
function whyUnheard(snapshot: MeshSnapshot, selected: Selected, port: number): { readonly why: string; readonly help: string } {
  const meant = servicePort(snapshot, selected, port);
  if (meant !== undefined)
    return {
      why: `it is the port of service \`${meant.service}\`, which leads to port ${meant.target} of the workload`,
      help: `write ${meant.target}: ports are the workload's own`,
    };
  const at = selected.flatMap((policy) => listenersOf(policy).map((listener) => `${policy.workload}:${listener.port}`));
  return { why: "nothing listens there", help: `the workloads that it holds for listen at ${named([...new Set(at)])}` };
}

/** Of the ports that a rule names, those at which none of its workloads listens; among exceptions, only ports of services. */
function unheardPorts({ rule, selected, snapshot }: PlacedRule): ReadonlySet<number> {
  const heard = portsOf(selected);
  if (heard.size === 0) return heard;
  const clauses = clausesOf(rule).filter(({ attribute }) => attribute === "destinationPort");
  const named = clauses.flatMap(({ values, negated }) =>
    values.flatMap((value) => (value.kind === "port" && !heard.has(value.port) ? [{ port: value.port, negated }] : [])),
  );
  const everywhere = isMetEverywhere(selected);
  const told = named.filter(({ port, negated }) => (!negated && !everywhere) || servicePort(snapshot, selected, port) !== undefined);
  return new Set(told.map(({ port }) => port));
}

/** Ports of rules. */
export function unheardRulePorts(placed: PlacedRule): readonly Diagnostic[] {
  const { policy, name, place, selected, snapshot } = placed;
  return [...unheardPorts(placed)].map((port) => {
    const { why, help } = whyUnheard(snapshot, selected, port);
    return { code: "GAR0210", message: `${policy.action} rule ${name} names port ${port} in vain: ${why}`, place, help };
  });
}

/** Rules that hold at no listener, where nothing else says why. */
export function unreachable(placed: PlacedRule): readonly Diagnostic[] {
  const { policy, rule, name, place, selected } = placed;
  if (selected.length === 0 || isMetEverywhere(selected) || unheardPorts(placed).size > 0) return [];
  const listeners = selected.flatMap(listenersOf);
  if ([...portsOf(selected)].some((port) => onPort(rule, port) !== undefined)) return [];
  const all = named(selected.map(({ workload }) => workload));
  const why = listeners.length === 0 ? `nothing listens at ${all}` : `its ports exclude each other, or all at which ${all} listens`;
  const help =
    listeners.length === 0
      ? "a workload listens where a Service leads to it, or by the `ingress` of a Sidecar: is the selector right?"
      : "let `ports`, `notPorts` and `destination.port` leave a port over";
  return [{ code: "GAR0211", message: `${policy.action} rule ${name} holds nowhere: ${why}`, place, help }];
}

/** Modes of single ports. */
export function unheardModePorts(snapshot: MeshSnapshot, policy: PeerAuthenticationObject, selected: Selected): readonly Diagnostic[] {
  const heard = portsOf(selected);
  if (heard.size === 0) return [];
  const { namespace, name, place } = policy.meta;
  return [...policy.portLevelMtls.keys()]
    .filter((port) => !heard.has(port) && (!isMetEverywhere(selected) || servicePort(snapshot, selected, port) !== undefined))
    .map((port) => {
      const { why, help } = whyUnheard(snapshot, selected, port);
      const message = `\`portLevelMtls\` of PeerAuthentication \`${namespace}/${name}\` names port ${port} in vain: ${why}`;
      return { code: "GAR0214", message, place, help };
    });
}
