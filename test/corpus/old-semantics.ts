/**
 * What sidecars of Istio 1.4 did with the older security API, told a second time and in another way than `src/convert`:
 * the policies stay as they are, and each request is asked of them. Without tokens, which the decision engine lacks.
 */
import type { Outcome } from "../../src/analyze/evaluate.ts";
import type { TestRequest } from "../../src/analyze/test-request.ts";
import { blockContains, parseIpAddress, parseIpBlock } from "../../src/policy/ip-block.ts";

type Strings = readonly string[];

interface OldRule {
  readonly services?: Strings;
  readonly methods?: Strings;
  readonly notMethods?: Strings;
  readonly paths?: Strings;
  readonly notPaths?: Strings;
  readonly hosts?: Strings;
  readonly notHosts?: Strings;
  readonly ports?: readonly number[];
  readonly notPorts?: readonly number[];
  readonly constraints?: readonly { readonly key: string; readonly values: Strings }[];
}

interface OldSubject {
  readonly user?: string;
  readonly names?: Strings;
  readonly notNames?: Strings;
  readonly namespaces?: Strings;
  readonly notNamespaces?: Strings;
  readonly ips?: Strings;
  readonly notIps?: Strings;
  readonly properties?: Readonly<Record<string, string>>;
}

interface OldTargets {
  readonly services?: Strings;
  readonly namespaces?: Strings;
}

interface OldSpec {
  readonly targets?: readonly { readonly name: string; readonly ports?: readonly { readonly number?: number; readonly name?: string }[] }[];
  readonly peers?: readonly { readonly mtls: { readonly mode?: string } | null }[];
  readonly rules?: readonly OldRule[];
  readonly subjects?: readonly OldSubject[];
  readonly roleRef?: { readonly name: string };
  readonly mode?: string;
  readonly enforcement_mode?: string;
  readonly inclusion?: OldTargets;
  readonly exclusion?: OldTargets;
}

export interface OldDocument {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: OldSpec;
}

/** A port of a workload, with the one service that leads there. */
export interface Place {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly address: string;
  readonly port: number;
  readonly isHttp: boolean;
  readonly service: { readonly name: string; readonly port: number; readonly portName: string };
}

type Effect = Outcome["effect"];

// === Peers ===

const namespaceOf = ({ metadata }: OldDocument): string => metadata.namespace ?? "default";

function modeAt(documents: readonly OldDocument[], { namespace, service }: Place): string {
  const policies = documents.filter(({ kind, ...rest }) => kind === "Policy" && (rest.metadata.namespace ?? "default") === namespace);
  const narrow = policies.find(({ spec }) =>
    spec.targets?.some(
      ({ name, ports = [] }) =>
        name === service.name &&
        (ports.length === 0 || ports.some((port) => port.number === service.port || port.name === service.portName)),
    ),
  );
  const wide = policies.find(({ spec }) => (spec.targets ?? []).length === 0);
  const policy = narrow ?? wide ?? documents.find(({ kind }) => kind === "MeshPolicy");
  // An installation came with a MeshPolicy of this mode.
  if (policy === undefined) return "PERMISSIVE";
  const [peer] = policy.spec.peers ?? [];
  return peer === undefined ? "DISABLE" : (peer.mtls?.mode ?? "STRICT");
}

// === Authorization ===

function matches(value: string, pattern: string): boolean {
  if (pattern === "*") return true;
  if (pattern.startsWith("*")) return value.endsWith(pattern.slice(1));
  return pattern.endsWith("*") ? value.startsWith(pattern.slice(0, -1)) : value === pattern;
}

const some = (value: string | undefined, patterns: Strings): boolean =>
  value !== undefined && patterns.some((pattern) => matches(value, pattern));

function inBlocks(address: string, blocks: Strings): boolean {
  const ip = parseIpAddress(address);
  return ip !== undefined && blocks.some((block) => blockContains(parseIpBlock(block), ip));
}

const HEADER = /^request\.headers\[(.+)\]$/;
const LABEL = /^destination\.labels\[(.+)\]$/;
const HTTP_FIELDS = ["methods", "notMethods", "paths", "notPaths", "hosts", "notHosts"] as const;

const header = (name: string, request: TestRequest): string | undefined => request.headers.get(name.toLowerCase())?.[0];

function constraintHolds(key: string, values: Strings, place: Place, request: TestRequest): boolean {
  const [, label] = LABEL.exec(key) ?? [];
  if (label !== undefined) return some(place.labels[label], values);
  const [, name] = HEADER.exec(key) ?? [];
  if (name !== undefined) return some(header(name, request), values);
  switch (key) {
    case "destination.name":
      return some(place.service.name, values);
    case "destination.namespace":
      return some(place.namespace, values);
    case "destination.ip":
      return inBlocks(place.address, values);
    case "destination.port":
      return values.includes(String(place.port));
    default:
      throw new Error(`no constraint of this test: ${key}`);
  }
}

/** One field and its negative; an empty list is none. */
function listHolds(value: string, positive: Strings | undefined, negative: Strings | undefined): boolean {
  if (positive !== undefined && positive.length > 0 && !some(value, positive)) return false;
  return negative === undefined || negative.length === 0 || !some(value, negative);
}

function ruleHolds(rule: OldRule, place: Place, request: TestRequest): boolean {
  const { services = [], constraints = [] } = rule;
  const isHttpOnly = HTTP_FIELDS.some((field) => (rule[field] ?? []).length > 0) || constraints.some(({ key }) => HEADER.test(key));
  if (!place.isHttp && isHttpOnly) return false;
  if (services.length > 0 && !some(hostOf(place), services)) return false;
  if (place.isHttp && !listHolds(request.method, rule.methods, rule.notMethods)) return false;
  if (place.isHttp && !listHolds(request.path, rule.paths, rule.notPaths)) return false;
  if (place.isHttp && !listHolds(request.host ?? "", rule.hosts, rule.notHosts)) return false;
  if (!listHolds(String(place.port), rule.ports?.map(String), rule.notPorts?.map(String))) return false;
  return constraints.every(({ key, values }) => constraintHolds(key, values, place, request));
}

const hostOf = ({ service, namespace }: Place): string => `${service.name}.${namespace}.svc.cluster.local`;

function callerIs(caller: string | undefined, names: Strings, everyone: Strings): boolean {
  if (names.some((name) => everyone.includes(name))) return true;
  return some(
    caller,
    names.map((name) => (name === "allAuthenticatedUsers" ? "*" : name)),
  );
}

function propertyHolds(key: string, value: string, caller: string | undefined, request: TestRequest): boolean {
  const [, name] = HEADER.exec(key) ?? [];
  if (name !== undefined) return some(header(name, request), [value]);
  if (key === "source.ip") return inBlocks(request.sourceIp ?? "", [value]);
  if (key === "source.namespace") return some(caller?.split("/")[2], [value]);
  if (key === "source.principal") return some(caller, [value]);
  throw new Error(`no property of this test: ${key}`);
}

function subjectHolds(subject: OldSubject, place: Place, request: TestRequest): boolean {
  const { user, names, notNames, namespaces, notNamespaces, ips, notIps, properties = {} } = subject;
  const keys = Object.entries(properties);
  if (!place.isHttp && keys.some(([key]) => HEADER.test(key))) return false;
  const caller = request.from?.slice("spiffe://".length);
  const ip = request.sourceIp ?? "";
  const clauses = [
    user === undefined ? [] : [callerIs(caller, [user], ["*", "allUsers"])],
    names === undefined ? [] : [callerIs(caller, names, ["*", "allUsers"])],
    notNames === undefined ? [] : [!callerIs(caller, notNames, [])],
    namespaces === undefined ? [] : [some(caller?.split("/")[2], namespaces)],
    notNamespaces === undefined ? [] : [!some(caller?.split("/")[2], notNamespaces)],
    ips === undefined ? [] : [inBlocks(ip, ips)],
    notIps === undefined ? [] : [!inBlocks(ip, notIps)],
    keys.map(([key, value]) => propertyHolds(key, value, caller, request)),
  ].flat();
  return clauses.length > 0 && clauses.every((holds) => holds);
}

function isOn(documents: readonly OldDocument[], place: Place): boolean {
  const config = documents.find(({ kind }) => kind === "ClusterRbacConfig") ?? documents.find(({ kind }) => kind === "RbacConfig");
  if (config === undefined || config.spec.enforcement_mode === "PERMISSIVE") return false;
  const { mode, inclusion, exclusion } = config.spec;
  const lists = (targets: OldTargets = {}): boolean =>
    targets.namespaces?.includes(place.namespace) === true || targets.services?.includes(hostOf(place)) === true;
  if (mode === "ON_WITH_INCLUSION") return lists(inclusion);
  return mode === "ON" || (mode === "ON_WITH_EXCLUSION" && !lists(exclusion));
}

function isGranted(documents: readonly OldDocument[], place: Place, request: TestRequest): boolean {
  const own = documents.filter((document) => namespaceOf(document) === place.namespace);
  return own.some(({ kind, metadata, spec }) => {
    if (kind !== "ServiceRole" || spec.rules?.some((rule) => ruleHolds(rule, place, request)) !== true) return false;
    const bindings = own.filter((one) => one.kind === "ServiceRoleBinding" && one.spec.roleRef?.name === metadata.name);
    const subjects = bindings.filter((one) => one.spec.mode !== "PERMISSIVE").flatMap((one) => one.spec.subjects ?? []);
    return subjects.some((subject) => subjectHolds(subject, place, request));
  });
}

/** What a sidecar of that time did with a request. */
export function oldEffect(documents: readonly OldDocument[], place: Place, request: TestRequest): Effect {
  const mode = modeAt(documents, place);
  if (mode === (request.from === undefined ? "STRICT" : "DISABLE")) return "refused";
  return !isOn(documents, place) || isGranted(documents, place, request) ? "allow" : "deny";
}
