/** ServiceRoles, ServiceRoleBindings and RbacConfig -> AuthorizationPolicies. */
import { quote } from "../policy/decode/report.ts";
import type { OldObjects } from "./decode.ts";
import type { Located, OldObject, RbacConfig, ServiceRole, ServiceRoleBinding } from "./old-objects.ts";
import { type Json, type JsonObject, type Note, type Output, selectorField } from "./output.ts";
import { configInForce, RbacScope } from "./rbac-scope.ts";
import { type Grant, grantsOf } from "./roles.ts";
import { type Service, type ServiceIndex, workloadPorts } from "./services.ts";
import { type Caller, callerOf, fromParts } from "./subjects.ts";

export interface Settings {
  readonly rootNamespace: string;
  readonly clusterDomain: string;
}

interface Rbac {
  /** Of each role, worked out once, so that what is wrong is told once. */
  readonly grants: Map<ServiceRole, readonly Grant[]>;
  readonly old: OldObjects;
  readonly services: ServiceIndex;
  readonly scope: RbacScope;
  readonly settings: Settings;
  readonly output: Output;
}

/** A policy of the root namespace would hold for the whole mesh. */
export function refuseRoot({ meta, report, label }: OldObject, { rootNamespace }: Settings): boolean {
  if (meta.namespace !== rootNamespace) return false;
  const help = "choose a root namespace without workloads of its own: `meshConfig.rootNamespace` there, `--root-namespace` here";
  report.add("GAR0004", meta.place, `${label} has no equal: today the policies of \`${rootNamespace}\` hold for the whole mesh`, help);
  return true;
}

// === Roles and bindings ===

function sameSelector(left: Grant, right: Grant): boolean {
  const text = ({ selector }: Grant): string => JSON.stringify([...selector].sort());
  return text(left) === text(right);
}

function rulesOf(grants: readonly Grant[], callers: readonly Caller[]): readonly JsonObject[] {
  return grants.flatMap(({ operation, when }) =>
    fromParts(callers).map(({ from, when: own }) => {
      const conditions: readonly Json[] = [...own, ...when];
      return {
        ...(from.length > 0 ? { from } : {}),
        ...(Object.keys(operation).length > 0 ? { to: [{ operation }] } : {}),
        ...(conditions.length > 0 ? { when: conditions } : {}),
      };
    }),
  );
}

/** What is not as it was, told where it may matter. */
function notesOf(grants: readonly Grant[], role: ServiceRole): readonly Note[] {
  const has = (field: string): boolean => grants.some(({ operation }) => Object.hasOwn(operation, field));
  const { place } = role.meta;
  const hosts = has("hosts") || has("notHosts") ? ["hosts are compared without regard to case"] : [];
  const ports = grants.some(({ service }) => service !== "") ? ["services are selected by the labels of their workloads"] : [];
  return [...ports, ...hosts].map((message) => ({ place, message }));
}

function grantsByWorkload(grants: readonly Grant[]): readonly (readonly [Grant, ...Grant[]])[] {
  const groups: [Grant, ...Grant[]][] = [];
  for (const grant of grants) {
    const group = groups.find(([first]) => sameSelector(first, grant));
    if (group === undefined) groups.push([grant]);
    else group.push(grant);
  }
  return groups;
}

function grantsOnce(role: ServiceRole, { grants, services, scope }: Rbac): readonly Grant[] {
  const known = grants.get(role) ?? grantsOf(role, services, scope);
  grants.set(role, known);
  return known;
}

function convertBinding(binding: ServiceRoleBinding, role: ServiceRole, rbac: Rbac, loose: Note[]): void {
  const { scope, output } = rbac;
  const callers = binding.subjects.flatMap((subject) => callerOf(subject, binding) ?? []);
  const groups = grantsByWorkload(grantsOnce(role, rbac));
  if (binding.report.errors > 0 || role.report.errors > 0) return;
  if (callers.length === 0 || groups.length === 0) {
    loose.push({
      place: binding.meta.place,
      message: `${binding.label} let nobody in where authorization is on: nothing is written for it`,
    });
    return;
  }
  for (const grants of groups) {
    const [{ selector, service }] = grants;
    output.add({
      kind: "AuthorizationPolicy",
      namespace: binding.meta.namespace,
      name: groups.length === 1 || service === "" ? binding.meta.name : `${binding.meta.name}-${service}`,
      spec: { ...selectorField(selector), action: "ALLOW", rules: rulesOf(grants, callers) },
      dryRun: binding.permissive || scope.isPermissive,
      sources: [binding, role],
      notes: notesOf(grants, role),
    });
  }
}

function roleOf(binding: ServiceRoleBinding, { old }: Rbac): ServiceRole | undefined {
  const { namespace } = binding.meta;
  const role = old.roles.find(({ meta }) => meta.namespace === namespace && meta.name === binding.role.value);
  if (role === undefined)
    binding.report.add(
      "GAR0102",
      binding.role.place,
      `there is no ServiceRole ${quote(`${namespace}/${binding.role.value}`)}, or it has no equal`,
      "give it along with its binding",
    );
  return role;
}

function convertBindings(rbac: Rbac, loose: Note[]): void {
  const { old, scope, settings } = rbac;
  for (const binding of old.bindings) {
    const role = roleOf(binding, rbac);
    if (role === undefined || refuseRoot(binding, settings)) continue;
    if (scope.isOff)
      loose.push({
        place: binding.meta.place,
        message: `${binding.label} had no effect, as authorization is OFF: nothing is written for it`,
      });
    else convertBinding(binding, role, rbac, loose);
    if (role.report.errors > 0)
      binding.report.add("GAR0102", binding.role.place, `${binding.label} gives ${role.label}, which has no equal`, "mend the role first");
  }
  for (const role of old.roles.filter(
    ({ meta }) => !old.bindings.some((one) => one.meta.namespace === meta.namespace && one.role.value === meta.name),
  ))
    loose.push({ place: role.meta.place, message: `${role.label} is given to nobody: nothing is written for it` });
}

// === RbacConfig ===

function serviceOf({ value, place }: Located<string>, config: RbacConfig, services: ServiceIndex): Service | undefined {
  const service = services.byHost(value);
  if (service !== undefined && service.selector.size > 0) return service;
  config.report.add(
    "GAR0102",
    place,
    `no Service with a selector is named ${quote(value)}`,
    "give the Service along with the policies, and its whole host here",
  );
  return undefined;
}

/** The workload's ports of some services, or an error where one is only a name. */
function portsOf(some: readonly Service[], config: RbacConfig, place: Located<string>["place"]): readonly string[] {
  const ports = some.map(workloadPorts);
  const [name] = ports.flatMap(({ names }) => names);
  if (name !== undefined)
    config.report.add(
      "GAR0004",
      place,
      `a service that shares its workloads has no equal while its port ${quote(name)} is only a name`,
      "write the number as its `targetPort`",
    );
  return [...new Set(ports.flatMap(({ numbers }) => numbers.map(String)))];
}

interface Scoped {
  readonly namespace: string;
  readonly name: string;
  readonly spec: JsonObject;
}

/** Denied by default; where a service that is not included shares the workloads, its ports stay open. */
function denied(entry: Located<string>, config: RbacConfig, { services, scope }: Rbac): readonly Scoped[] {
  const service = serviceOf(entry, config, services);
  if (service === undefined || scope.holdsForAllOf(service.namespace)) return [];
  const sharing = services.sharing(service);
  const name = `allow-nothing-${service.name}`;
  const own = selectorField(service.selector);
  if (sharing.every((other) => scope.holdsFor(other))) return [{ namespace: service.namespace, name, spec: own }];
  const notPorts = portsOf([service, ...sharing.filter((other) => scope.holdsFor(other))], config, entry.place);
  return [
    {
      namespace: service.namespace,
      name: `allow-others-${service.name}`,
      spec: { ...own, action: "ALLOW", rules: [{ to: [{ operation: { notPorts } }] }] },
    },
  ];
}

/** Allowed, on its own ports where a service that is not excluded shares the workloads. */
function allowed(entry: Located<string>, config: RbacConfig, { services, scope }: Rbac): readonly Scoped[] {
  const service = serviceOf(entry, config, services);
  if (service === undefined) return [];
  const isShared = services.sharing(service).some((other) => scope.holdsFor(other));
  const rule = isShared ? { to: [{ operation: { ports: portsOf([service], config, entry.place) } }] } : {};
  const spec = { ...selectorField(service.selector), action: "ALLOW", rules: [rule] };
  return [{ namespace: service.namespace, name: `allow-all-${service.name}`, spec }];
}

function scopedPolicies(config: RbacConfig, rbac: Rbac): readonly Scoped[] {
  const { rootNamespace } = rbac.settings;
  const nothing = (namespace: string): Scoped => ({ namespace, name: "allow-nothing", spec: {} });
  const all = (namespace: string): Scoped => ({ namespace, name: "allow-all", spec: { action: "ALLOW", rules: [{}] } });
  const { inclusion, exclusion } = config;
  switch (config.mode) {
    case "OFF":
      return [];
    case "ON":
      return [nothing(rootNamespace)];
    case "ON_WITH_INCLUSION":
      return [
        ...inclusion.namespaces.map(({ value }) => nothing(value)),
        ...inclusion.services.flatMap((entry) => denied(entry, config, rbac)),
      ];
    case "ON_WITH_EXCLUSION":
      return [
        nothing(rootNamespace),
        ...exclusion.namespaces.map(({ value }) => all(value)),
        ...exclusion.services.flatMap((entry) => allowed(entry, config, rbac)),
      ];
  }
}

function convertConfig(config: RbacConfig, rbac: Rbac, loose: Note[]): void {
  const { output, settings } = rbac;
  const scoped = scopedPolicies(config, rbac);
  const isMeshWide = ({ namespace, name }: Scoped): boolean =>
    namespace === settings.rootNamespace && name === "allow-nothing" && config.mode !== "ON_WITH_INCLUSION";
  for (const one of scoped.filter((each) => !isMeshWide(each)))
    if (refuseRoot({ ...config, meta: { ...config.meta, namespace: one.namespace } }, settings)) break;
  if (config.report.errors > 0) return;
  if (config.mode === "OFF") loose.push({ place: config.meta.place, message: `${config.label} is OFF: nothing is written for it` });
  for (const one of scoped) {
    const notes = isMeshWide(one)
      ? [{ place: config.meta.place, message: "it holds for gateways too, which the old authorization left alone" }]
      : [];
    output.add({ ...one, kind: "AuthorizationPolicy", dryRun: config.permissive, sources: [config], notes });
  }
}

/** Everything of `rbac.istio.io`. Answers notes on what nothing is written for. */
export function convertRbac(old: OldObjects, services: ServiceIndex, settings: Settings, output: Output): readonly Note[] {
  const config = configInForce(old);
  const scope = new RbacScope(config, settings.rootNamespace);
  const rbac: Rbac = { grants: new Map(), old, services, scope, settings, output };
  const loose: Note[] = [];
  if (config !== undefined) convertConfig(config, rbac, loose);
  const [first] = old.bindings;
  if (config === undefined && first !== undefined)
    loose.push({
      place: first.meta.place,
      message: "no ClusterRbacConfig is given: authorization is taken as on wherever a role is given, and nowhere else",
    });
  convertBindings(rbac, loose);
  return loose;
}
