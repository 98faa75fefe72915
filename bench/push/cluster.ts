/** A cluster as its API server shows it: 1,000 services of two pods each in 100 namespaces, and an AuthorizationPolicy for each. */
import { FakeKubernetesApi } from "../../test/fakes/fake-kubernetes-api.ts";

const SERVICES = 1000;
const SERVICES_OF_A_NAMESPACE = 10;

export type ApiObject = {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Readonly<Record<string, string>> };
  readonly [field: string]: unknown;
};

export interface Place {
  readonly namespace: string;
  readonly name: string;
  readonly account: string;
}

const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index);

function namespaceOf(app: number): string {
  return `team-${Math.floor(app / SERVICES_OF_A_NAMESPACE)}`;
}

/** The pod of a number; two in turn are of one service. */
export function placeOf(pod: number): Place {
  const app = pod >> 1;
  return {
    namespace: namespaceOf(app),
    name: `app-${app}-${pod & 1}`,
    account: `app-${app}`,
  };
}

let version = 1;

function object(namespace: string, name: string, rest: object, labels: Readonly<Record<string, string>> = {}): ApiObject {
  version += 1;
  const metadata = {
    name,
    namespace,
    labels,
    resourceVersion: String(version),
    creationTimestamp: "2026-01-01T00:00:00Z",
  };
  return { metadata, ...rest };
}

function addressOf(pod: number): string {
  return `10.${1 + (pod >> 14)}.${(pod >> 7) & 127}.${1 + (pod & 127)}`;
}

function podObject(pod: number): ApiObject {
  const { namespace, name, account } = placeOf(pod);
  const spec = {
    serviceAccountName: account,
    containers: [{ name: "app", image: "app", ports: [{ name: "http", containerPort: 8080 }] }],
  };
  const status = {
    phase: "Running",
    podIP: addressOf(pod),
    conditions: [{ type: "Ready", status: "True" }],
  };
  return object(namespace, name, { spec, status }, { app: account });
}

function serviceObject(app: number): ApiObject {
  const ports = [{ name: "http", port: 80, targetPort: 8080 }];
  return object(namespaceOf(app), `app-${app}`, {
    spec: { selector: { app: `app-${app}` }, ports },
  });
}

/** Where a service is served; its second pod may not be ready. */
export function sliceObject(app: number, ready = true): ApiObject {
  const endpoints = [2 * app, 2 * app + 1].map((pod) => ({
    addresses: [addressOf(pod)],
    conditions: { ready: pod % 2 === 0 || ready },
    targetRef: { kind: "Pod", name: placeOf(pod).name },
  }));
  const rest = { addressType: "IPv4", endpoints, ports: [{ name: "http", port: 8080, protocol: "TCP" }] };
  return object(namespaceOf(app), `app-${app}`, rest, { "kubernetes.io/service-name": `app-${app}` });
}

/** Of one application, or for -1 of the whole mesh. */
export function policyObject(app: number, path: string): ApiObject {
  const callers = [`cluster.local/ns/${namespaceOf((app + 1) % SERVICES)}/sa/app-${(app + 1) % SERVICES}`];
  const spec = {
    ...(app < 0 ? {} : { selector: { matchLabels: { app: `app-${app}` } } }),
    rules: [
      {
        from: [{ source: { principals: callers } }],
        to: [{ operation: { methods: ["GET"], paths: [path] } }],
      },
    ],
  };
  return app < 0 ? object("istio-system", "everyone", { spec }) : object(namespaceOf(app), `app-${app}`, { spec });
}

export function peerAuthenticationObject(mode: "STRICT" | "PERMISSIVE"): ApiObject {
  return object("istio-system", "default", { spec: { mtls: { mode } } });
}

/** `visible`: everybody may call everybody; else those of its own namespace. */
function sidecarObjects(visible: boolean): readonly ApiObject[] {
  const egress = (hosts: readonly string[]) => ({
    spec: {
      egress: [
        {
          port: { number: 80, protocol: "HTTP", name: "http" },
          bind: "127.0.0.1",
          hosts,
        },
      ],
    },
  });
  if (visible) return [object("istio-system", "default", egress(["*/*"]))];
  return [...new Set(numbers(SERVICES).map(namespaceOf))].map((namespace) => object(namespace, "default", egress(["./*"])));
}

/** All objects, by the plural of their kind. */
export function clusterObjects(visible: boolean): Readonly<Record<string, readonly ApiObject[]>> {
  const namespaces = [...new Set(numbers(SERVICES).map(namespaceOf)), "istio-system"];
  return {
    namespaces: namespaces.map((name) => object("", name, {})),
    serviceaccounts: numbers(SERVICES).map((app) => object(namespaceOf(app), `app-${app}`, {})),
    services: numbers(SERVICES).map(serviceObject),
    pods: numbers(SERVICES * 2).map(podObject),
    endpointslices: numbers(SERVICES).map((app) => sliceObject(app)),
    sidecars: sidecarObjects(visible),
    authorizationpolicies: [policyObject(-1, "/all"), ...numbers(SERVICES).map((app) => policyObject(app, "/api"))],
    peerauthentications: [peerAuthenticationObject("STRICT")],
  };
}

/** An API server that has the cluster, and whose watches the benchmark feeds. */
export class BenchCluster {
  readonly api = new FakeKubernetesApi();

  constructor(visible: boolean) {
    const lists = clusterObjects(visible);
    this.api.answer = (path) => {
      const [, resource = ""] = /\/v1\/(?:namespaces\/[^/]+\/)?([a-z]+)\?/.exec(path) ?? [];
      return {
        status: 200,
        body: {
          metadata: { resourceVersion: "1" },
          items: lists[resource] ?? [],
        },
      };
    };
  }

  /** An event of a watch, now. */
  async tell(resource: string, object: ApiObject): Promise<number> {
    const at = Number(process.hrtime.bigint()) / 1e6;
    this.api.watches.findLast(({ path }) => path.includes(`/${resource}?`))?.send({ type: "MODIFIED", object });
    return at;
  }
}
