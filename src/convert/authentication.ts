/** Policies and MeshPolicies -> PeerAuthentications, and where they have origins RequestAuthentications with their DENY. */
import type { Place } from "../core/diagnostic.ts";
import { quote } from "../policy/decode/report.ts";
import type { Selector } from "../policy/model.ts";
import type { OldObjects } from "./decode.ts";
import type { AuthenticationPolicy, Located, Target } from "./old-objects.ts";
import { addOrigins, sameOrigins, type TokenPaths } from "./origins.ts";
import { type JsonObject, type Note, type Output, selectorField } from "./output.ts";
import { refuseRoot, type Settings } from "./rbac.ts";
import { compatible, type Service, type ServiceIndex, workloadPorts } from "./services.ts";

/** What a policy says of one service. */
interface Unit {
  readonly policy: AuthenticationPolicy;
  readonly service: Service;
  /** The workload's ports; undefined for all. */
  readonly ports: readonly number[] | undefined;
  readonly place: Place;
}

interface Context {
  readonly services: ServiceIndex;
  readonly settings: Settings;
  readonly output: Output;
  readonly tokenPaths: TokenPaths;
}

// === From services to workloads ===

function workloadPort({ value, place }: Located<number | string>, service: Service, policy: AuthenticationPolicy): number | undefined {
  const port = service.ports.find(({ number, name }) => (typeof value === "number" ? number === value : name === value));
  if (typeof port?.target === "number") return port.target;
  const shown = `port ${quote(String(value))} of Service \`${service.name}\``;
  if (port === undefined) policy.report.add("GAR0102", place, `there is no ${shown}`, "name a port of the Service");
  else
    policy.report.add(
      "GAR0004",
      place,
      `${shown} has no equal: the workload's port is only a name`,
      "write the number as its `targetPort`",
    );
  return undefined;
}

/** The ports of a target, or of a service that shares its workloads with others. */
function portsOf(target: Target, service: Service, { services }: Context, policy: AuthenticationPolicy): readonly number[] | undefined {
  if (target.ports.length > 0) return [...new Set(target.ports.flatMap((port) => workloadPort(port, service, policy) ?? []))];
  if (services.sharing(service).length === 0) return undefined;
  return [
    ...new Set(service.ports.flatMap(({ number }) => workloadPort({ value: number, place: target.service.place }, service, policy) ?? [])),
  ];
}

function unitsOf(policy: AuthenticationPolicy, context: Context): readonly Unit[] {
  return policy.targets.flatMap((target) => {
    const { value, place } = target.service;
    const service = context.services.find(policy.meta.namespace, value);
    if (service !== undefined && service.selector.size > 0)
      return [{ policy, service, place, ports: portsOf(target, service, context, policy) }];
    const name = quote(`${policy.meta.namespace}/${value}`);
    policy.report.add(
      "GAR0102",
      place,
      `there is no Service ${name} with a selector, and today's kinds select workloads by labels`,
      "give the Service along with the policies",
    );
    return [];
  });
}

// === Peers ===

const selectorText = (selector: Selector): string => JSON.stringify([...selector].sort());

/** Of several PeerAuthentications for one workload only the oldest counts, so those of one selector become one. */
function grouped(units: readonly Unit[]): readonly (readonly [Unit, ...Unit[]])[] {
  const groups: [Unit, ...Unit[]][] = [];
  for (const unit of units) {
    const key = `${unit.service.namespace} ${selectorText(unit.service.selector)}`;
    const group = groups.find(([{ service }]) => `${service.namespace} ${selectorText(service.selector)}` === key);
    if (group === undefined) groups.push([unit]);
    else group.push(unit);
  }
  return groups;
}

function claim(unit: Unit): void {
  const message = `another policy already says how peers of Service \`${unit.service.name}\` are authenticated`;
  unit.policy.report.add("GAR0104", unit.place, message, "today only the oldest of them would count: join them");
}

/** Reports policies that say two things of one port, or that overlap in part, which selectors cannot tell apart. */
function checkClaims(groups: readonly (readonly [Unit, ...Unit[]])[]): void {
  for (const group of groups) {
    for (const [index, unit] of group.entries()) {
      const before = group.slice(0, index).filter(({ policy }) => policy.mode !== unit.policy.mode);
      const clashes = before.some(
        ({ ports }) => ports === undefined || unit.ports === undefined || ports.some((port) => unit.ports?.includes(port)),
      );
      if (clashes) claim(unit);
    }
  }
  for (const [index, [unit]] of groups.entries()) {
    const { namespace, selector } = unit.service;
    if (groups.slice(0, index).some(([{ service }]) => service.namespace === namespace && compatible(service.selector, selector)))
      claim(unit);
  }
}

function peerNotes({ policy, place }: Pick<Unit, "policy" | "place">): readonly Note[] {
  const isOff = policy.mode === "DISABLE" ? ["without mutual TLS among its `peers`, sidecars took plaintext only"] : [];
  const isOptional = policy.peerIsOptional ? ["`peerIsOptional` is left out: sidecars asked for the certificate all the same"] : [];
  return [...isOff, ...isOptional].map((message) => ({ place, message }));
}

function addPeerGroup(group: readonly [Unit, ...Unit[]], { output }: Context): void {
  const [first, ...others] = group;
  const [{ policy, service }] = group;
  const policies = [...new Set(others.map((unit) => unit.policy))].filter((one) => one !== policy);
  const whole = group.find(({ ports }) => ports === undefined);
  const levels = group.flatMap(({ ports = [], policy: { mode } }) => ports.map((port) => [String(port), { mode }] as const));
  const spec: JsonObject = {
    ...selectorField(service.selector),
    ...(whole === undefined ? {} : { mtls: { mode: whole.policy.mode } }),
    ...(levels.length === 0 ? {} : { portLevelMtls: Object.fromEntries(levels) }),
  };
  const byPort =
    levels.length === 0 ? [] : [{ place: first.place, message: "ports are those of the workload, where they were the service's" }];
  output.add({
    kind: "PeerAuthentication",
    namespace: service.namespace,
    name: nameOf(first),
    spec,
    sources: [policy, ...policies],
    notes: [
      { place: first.place, message: `Service \`${service.name}\` is selected by the labels of its workloads` },
      ...byPort,
      ...group.flatMap(peerNotes),
    ],
  });
}

function nameOf({ policy, service }: Unit): string {
  return policy.targets.length === 1 ? policy.meta.name : `${policy.meta.name}-${service.name}`;
}

// === Scopes ===

/** The policy that would hold if this one were not there: the old one hid it, today's origins add to it. */
function broader(policy: AuthenticationPolicy, all: readonly AuthenticationPolicy[]): AuthenticationPolicy | undefined {
  if (policy.scope === "mesh") return undefined;
  const wide = all.filter(({ targets }) => targets.length === 0);
  const own =
    policy.targets.length === 0
      ? undefined
      : wide.find(({ scope, meta }) => scope === "namespace" && meta.namespace === policy.meta.namespace);
  return own ?? wide.find(({ scope }) => scope === "mesh");
}

function checkHidden(policy: AuthenticationPolicy, hidden: AuthenticationPolicy | undefined): void {
  if (hidden === undefined || hidden.origins.length === 0 || sameOrigins(policy, hidden)) return;
  const message = `${policy.label} took the place of the origins of ${hidden.label}, which has no equal: today both hold`;
  policy.report.add("GAR0004", policy.meta.place, message, `give ${hidden.label} targets, so that it leaves these out`);
}

function addWide(policy: AuthenticationPolicy, { output, settings, tokenPaths }: Context): void {
  const namespace = policy.scope === "mesh" ? settings.rootNamespace : policy.meta.namespace;
  const notes = peerNotes({ policy, place: policy.meta.place });
  output.add({ kind: "PeerAuthentication", namespace, name: "default", spec: { mtls: { mode: policy.mode } }, sources: [policy], notes });
  addOrigins({ policy, namespace, name: "default", selector: new Map(), httpPorts: undefined }, output, tokenPaths);
}

/** Tokens cannot be asked for on some ports of a workload and not on others. */
function checkUnitOrigins({ policy, service, ports, place }: Unit): void {
  if (policy.origins.length === 0 || ports === undefined) return;
  const { numbers, names } = workloadPorts(service);
  if (names.length > 0 || numbers.some((port) => !ports.includes(port)))
    policy.report.add("GAR0004", place, "origins on some ports of a service have no equal", "today they hold for all ports of a workload");
}

function addUnitOrigins(unit: Unit, { output, tokenPaths }: Context): void {
  const { policy, service } = unit;
  const tcp = service.ports.some(({ protocol }) => protocol === "tcp");
  const http = service.ports.flatMap(({ protocol, target }) => (protocol === "tcp" ? [] : [String(target)]));
  addOrigins(
    { policy, namespace: service.namespace, name: nameOf(unit), selector: service.selector, httpPorts: tcp ? http : undefined },
    output,
    tokenPaths,
  );
}

/** Everything of `authentication.istio.io`. */
export function convertAuthentication(old: OldObjects, context: Context): void {
  const policies = old.policies.filter(({ report }) => report.errors === 0);
  for (const policy of policies) {
    if (policy.scope === "namespace") refuseRoot(policy, context.settings);
    checkHidden(policy, broader(policy, policies));
  }
  const units = policies.flatMap((policy) => unitsOf(policy, context));
  units.forEach(checkUnitOrigins);
  checkClaims(grouped(units));
  const isFine = ({ report }: AuthenticationPolicy): boolean => report.errors === 0;
  for (const policy of policies.filter(({ targets }) => targets.length === 0).filter(isFine)) addWide(policy, context);
  const kept = units.filter(({ policy }) => isFine(policy));
  for (const group of grouped(kept)) addPeerGroup(group, context);
  for (const unit of kept.filter(({ policy }) => !sharesOrigins(policy, policies))) addUnitOrigins(unit, context);
}

/** Whether what the wider policy asks of tokens is all that this one asks. */
function sharesOrigins(policy: AuthenticationPolicy, all: readonly AuthenticationPolicy[]): boolean {
  const hidden = broader(policy, all);
  return hidden !== undefined && hidden.report.errors === 0 && hidden.origins.length > 0;
}
