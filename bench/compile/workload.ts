/** A large mesh: namespaces of 20 workloads, two workloads behind each service, a Sidecar for each workload that calls three services. */
import type {
  AuthorizationPolicyObject,
  Clause,
  MeshObject,
  ObjectMeta,
  PeerAuthenticationObject,
  ServiceObject,
  SidecarObject,
  WorkloadEntryObject,
} from "../../src/policy/model.ts";
import { parseStringMatch } from "../../src/policy/pattern.ts";

const WORKLOADS_OF_A_NAMESPACE = 20;
const APPS_OF_A_NAMESPACE = WORKLOADS_OF_A_NAMESPACE / 2;
const NO_ENTRIES: ReadonlyMap<string, string> = new Map();

/** An application is two workloads and their service. */
function appOf(workload: number): number {
  return Math.floor(workload / 2);
}

function namespaceOf(app: number): string {
  return `team-${Math.floor(app / APPS_OF_A_NAMESPACE)}`;
}

function meta(namespace: string, name: string): ObjectMeta {
  const place = { file: `${namespace}/${name}.yaml`, line: 1, column: 1 };
  return { namespace, name, labels: NO_ENTRIES, annotations: NO_ENTRIES, created: 0, place };
}

function selecting(app: number): ReadonlyMap<string, string> {
  return new Map([["app", `app-${app}`]]);
}

export function workloadOf(index: number, address = `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`): WorkloadEntryObject {
  const app = appOf(index);
  const ports = new Map<string, number>();
  return {
    kind: "WorkloadEntry",
    meta: meta(namespaceOf(app), `workload-${index}`),
    address,
    ports,
    labels: new Map([...selecting(app), ["workload", String(index)]]),
    serviceAccount: `app-${app}`,
  };
}

export function serviceOf(app: number, targetPort = 8080): ServiceObject {
  const own = meta(namespaceOf(app), `app-${app}`);
  return {
    kind: "Service",
    meta: own,
    selector: selecting(app),
    ports: [{ name: "http", port: 80, targetPort, protocol: "http", place: own.place }],
  };
}

function sidecarOf(workload: number, apps: number): SidecarObject {
  const app = appOf(workload);
  const own = meta(namespaceOf(app), `workload-${workload}`);
  const egress = [1, 2, 7].map((distance, index) => {
    const called = (app + distance) % apps;
    return {
      port: { number: 10_080 + index, name: "http", protocol: "http" as const },
      bind: { kind: "address" as const, host: `127.1.${workload >> 8}.${workload & 255}` },
      hosts: [{ namespace: namespaceOf(called), host: `app-${called}.${namespaceOf(called)}.svc.cluster.local` }],
      place: own.place,
    };
  });
  return { kind: "Sidecar", meta: own, selector: new Map([["workload", String(workload)]]), ingress: [], egress };
}

function clause(attribute: Clause["attribute"], value: string): Clause {
  return { attribute, argument: "", values: [parseStringMatch(value)], negated: false };
}

/** Two rules for one application, or, for -1, for the whole mesh: a caller may read a path, and another one. */
export function policyOf(index: number, path = "/api", apps = 1000): AuthorizationPolicyObject {
  const app = index % apps;
  const namespace = index < 0 ? "istio-system" : namespaceOf(app);
  const rules = [1, 2].map((rule) => ({
    from: [[clause("principal", `cluster.local/ns/${namespaceOf((app + rule) % apps)}/sa/app-${(app + rule) % apps}`)]],
    to: [[clause("method", "GET"), clause("path", `${path}/${index}-${rule}/*`)]],
    when: [],
  }));
  const selector = index < 0 ? NO_ENTRIES : selecting(app);
  return { kind: "AuthorizationPolicy", meta: meta(namespace, `policy-${index}`), selector, action: "ALLOW", rules };
}

export function makeMesh(policies: number, workloads: number): readonly MeshObject[] {
  const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index);
  const apps = Math.ceil(workloads / 2);
  const namespaces = [...new Set(numbers(apps).map(namespaceOf))];
  const strict = ["istio-system", ...namespaces].map(
    (namespace): PeerAuthenticationObject => ({
      kind: "PeerAuthentication",
      meta: meta(namespace, "default"),
      selector: NO_ENTRIES,
      mtls: "STRICT",
      portLevelMtls: new Map(),
    }),
  );
  return [
    ...namespaces.map((name): MeshObject => ({ kind: "Namespace", meta: meta("", name) })),
    ...numbers(apps).map((app): MeshObject => ({ kind: "ServiceAccount", meta: meta(namespaceOf(app), `app-${app}`) })),
    ...numbers(workloads).map((index) => workloadOf(index)),
    ...numbers(apps).map((app) => serviceOf(app)),
    ...numbers(workloads).map((index) => sidecarOf(index, apps)),
    ...strict,
    policyOf(-1, "/api", apps),
    ...numbers(policies - 1).map((index) => policyOf(index, "/api", apps)),
  ];
}
