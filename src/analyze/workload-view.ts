/** What is in force for one workload, with where each part of it is written. Plain data that survives JSON. */
import { policiesOf } from "../compile/authorization.ts";
import type { CompiledMesh } from "../compile/compile.ts";
import { mtlsOf } from "../compile/mtls.ts";
import { jwtPoliciesOf } from "../compile/request-authentication.ts";
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import type { Place } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import { workloadsOfService } from "../mesh/selection.ts";
import { serviceKey, workloadPortOf } from "../mesh/services.ts";
import type { Workload } from "../mesh/snapshot.ts";
import { quote } from "../policy/decode/report.ts";
import { closest } from "../policy/decode/suggest.ts";
import type { PolicyAction, ServiceObject } from "../policy/model.ts";
import type { Origin } from "../policy/origin.ts";

export interface PolicyInForce {
  /** `NAMESPACE/NAME`. */
  readonly name: string;
  readonly place: Place;
  /** Its only form is invalid: what holds in its place lets nothing through. */
  readonly closed: boolean;
}

export interface AuthorizationInForce extends PolicyInForce {
  readonly action: PolicyAction;
  /** Tried, and not enforced; absent for a policy that is. */
  readonly dryRun?: true;
  /** Where each of its rules is written, in their order; none for an invalid one. */
  readonly rules: readonly Place[];
}

export interface PortInForce {
  /** The name of the listener. */
  readonly listener: string;
  /** The PeerAuthentication that says the port's mode; absent where none does, and the mode is PERMISSIVE. */
  readonly mtlsBy?: PolicyInForce;
}

/** The ports of a service that was asked for, and where each leads at one workload; undefined: to a name that it does not have. */
export interface AskedService {
  /** `NAMESPACE/NAME`. */
  readonly name: string;
  readonly ports: readonly { readonly port: number; readonly target?: number }[];
}

export interface WorkloadView {
  readonly policy: WorkloadPolicy;
  /** One for each inbound listener, in their order. */
  readonly ports: readonly PortInForce[];
  /** Those that select the workload, oldest first. */
  readonly authorization: readonly AuthorizationInForce[];
  /** The RequestAuthentication of each rule for tokens, in the order of the rules. */
  readonly requestAuthentication: readonly PolicyInForce[];
  /** Absent where the workload was asked by its own name. */
  readonly service?: AskedService;
}

type Mesh = Pick<CompiledMesh, "snapshot" | "policies">;

function portsOf({ snapshot }: Mesh, workload: Workload, policy: WorkloadPolicy): readonly PortInForce[] {
  return policy.inbound.map(({ name, port }) => {
    const { from } = mtlsOf(snapshot, workload, port);
    if (from === undefined) return { listener: name };
    const { meta, mtls } = from;
    return { listener: name, mtlsBy: { name: `${meta.namespace}/${meta.name}`, place: meta.place, closed: mtls === "invalid" } };
  });
}

function authorizationOf({ snapshot }: Mesh, workload: Workload): readonly AuthorizationInForce[] {
  return policiesOf(snapshot, workload).map(({ meta, action, rules, dryRun }) => ({
    name: `${meta.namespace}/${meta.name}`,
    place: meta.place,
    closed: rules === "invalid",
    action,
    ...(dryRun === true ? { dryRun } : {}),
    rules: rules === "invalid" ? [] : rules.map(({ place = meta.place }) => place),
  }));
}

function requestAuthenticationOf({ snapshot }: Mesh, workload: Workload): readonly PolicyInForce[] {
  return jwtPoliciesOf(snapshot, workload).map(({ meta, jwtRules }) => ({
    name: `${meta.namespace}/${meta.name}`,
    place: meta.place,
    closed: jwtRules === "invalid",
  }));
}

interface Named {
  readonly workloads: readonly Workload[];
  readonly service?: ServiceObject;
}

/** A workload of this name, or else the workloads behind a service of this name. */
function workloadsNamed({ snapshot }: Mesh, name: string): Named {
  const workload = snapshot.workloads.get(name);
  if (workload !== undefined) return { workloads: [workload] };
  const service = snapshot.services.find((candidate) => serviceKey(candidate) === name);
  if (service !== undefined) {
    const behind = workloadsOfService(snapshot, service);
    if (behind.length > 0) return { workloads: behind, service };
    throw new AppError("not-found", `service \`${name}\` selects no workload`, {
      help: "its selector must match the labels of a workload in the same namespace",
    });
  }
  const meant = closest(name, [...snapshot.workloads.keys(), ...snapshot.services.map(serviceKey)]);
  const help = meant === undefined ? "name a WorkloadEntry or a Service as NAMESPACE/NAME" : `did you mean \`${meant}\`?`;
  throw new AppError("not-found", `there is no workload and no service ${quote(name)}`, { help });
}

/** The policy that a rule is of, and where the rule is written; a rule of an invalid policy stands where the policy does. */
export function ruleInForce(
  { authorization }: WorkloadView,
  { namespace, policy, rule }: Origin,
): { readonly policy: AuthorizationInForce; readonly place: Place } | undefined {
  const found = authorization.find(({ name }) => name === `${namespace}/${policy}`);
  return found === undefined ? undefined : { policy: found, place: found.rules[rule] ?? found.place };
}

function askedService(service: ServiceObject, workload: Workload): AskedService {
  const ports = service.ports.map((each) => {
    const target = workloadPortOf(each, workload);
    return { port: each.port, ...(target === undefined ? {} : { target }) };
  });
  return { name: serviceKey(service), ports };
}

/** What is in force for a workload, or for each workload behind a service; `name` is NAMESPACE/NAME. Throws `not-found`. */
export function viewsOf(mesh: Mesh, name: string): readonly WorkloadView[] {
  const { workloads, service } = workloadsNamed(mesh, name);
  return workloads.flatMap((workload) => {
    const policy = mesh.policies.get(workload.key);
    if (policy === undefined) return [];
    const [ports, authorization] = [portsOf(mesh, workload, policy), authorizationOf(mesh, workload)];
    const asked = service === undefined ? {} : { service: askedService(service, workload) };
    return [{ policy, ports, authorization, requestAuthentication: requestAuthenticationOf(mesh, workload), ...asked }];
  });
}
