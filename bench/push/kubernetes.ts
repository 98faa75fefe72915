/** The benchmark's cluster written into a real API server: its events are those that the server sends for real writes. */
import { type KubernetesApi, MERGE_PATCH, openKubernetesApi, type WatchAnswer } from "../../src/sources/kubernetes/api.ts";
import type { Scope } from "../../test/feature/garrison.ts";
import { Cluster } from "../../test/kube/cluster.ts";
import { type ApiObject, clusterObjects } from "./cluster.ts";

/** Writes that are under way at once. */
const WRITERS = 32;
const CUSTOM = ["authorizationpolicies", "peerauthentications", "sidecars"] as const;

/** In the order in which they are written: namespaces go first. */
const KINDS: readonly (readonly [string, { readonly kind: string; readonly apiVersion: string }])[] = [
  ["namespaces", { kind: "Namespace", apiVersion: "v1" }],
  ["serviceaccounts", { kind: "ServiceAccount", apiVersion: "v1" }],
  ["services", { kind: "Service", apiVersion: "v1" }],
  ["pods", { kind: "Pod", apiVersion: "v1" }],
  ["endpointslices", { kind: "EndpointSlice", apiVersion: "discovery.k8s.io/v1" }],
  ["sidecars", { kind: "Sidecar", apiVersion: "networking.istio.io/v1" }],
  ["authorizationpolicies", { kind: "AuthorizationPolicy", apiVersion: "security.istio.io/v1" }],
  ["peerauthentications", { kind: "PeerAuthentication", apiVersion: "security.istio.io/v1" }],
];

function collectionOf(resource: string, apiVersion: string, namespace: string | undefined): string {
  const base = apiVersion === "v1" ? "/api/v1" : `/apis/${apiVersion}`;
  return namespace === undefined || namespace === "" ? `${base}/${resource}` : `${base}/namespaces/${namespace}/${resource}`;
}

/** What a writer says of an object; the server gives it the rest. */
function written({ metadata: { name, namespace, labels }, ...rest }: ApiObject): object {
  return { ...rest, metadata: { name, labels, ...(namespace === "" ? {} : { namespace }) } };
}

async function each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const worker = async (): Promise<void> => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: WRITERS }, worker));
}

interface Waiting {
  readonly resource: string;
  readonly name: string;
  readonly seen: (at: number) => void;
}

export class RealCluster {
  readonly api: KubernetesApi;
  readonly #direct: KubernetesApi;
  readonly #now: () => number;
  readonly #waiting = new Set<Waiting>();

  private constructor(direct: KubernetesApi, now: () => number) {
    this.#direct = direct;
    this.#now = now;
    this.api = {
      call: (...args) => direct.call(...args),
      watch: async (path, signal) => this.#watched(path, await direct.watch(path, signal)),
    };
  }

  /** Starts a server and writes the cluster; both end with `scope`. */
  static async start(scope: Scope, visible: boolean, now: () => number): Promise<RealCluster> {
    const server = await Cluster.bare(scope);
    await server.installSchemas(CUSTOM);
    const cluster = new RealCluster(await openKubernetesApi({ file: server.server.kubeconfig }), now);
    const objects = clusterObjects(visible);
    for (const [resource, about] of KINDS) {
      await each(objects[resource] ?? [], (object) => cluster.#create(resource, about, object));
    }
    return cluster;
  }

  async #create(resource: string, about: (typeof KINDS)[number][1], object: ApiObject): Promise<void> {
    const { status, ...rest } = { status: undefined, ...object };
    const path = collectionOf(resource, about.apiVersion, object.metadata.namespace);
    await this.#write("POST", path, { ...about, ...written(rest) });
    if (status === undefined) return;
    await this.#write("PATCH", `${path}/${object.metadata.name}/status`, { status });
  }

  async #write(method: "POST" | "PATCH", path: string, body: object): Promise<void> {
    const answer = await this.#direct.call(method, path, body, ...(method === "PATCH" ? ([MERGE_PATCH] as const) : []));
    if (answer.status < 300 || answer.status === 409) return;
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  /** Writes an object that is there; resolves with the moment at which its event had come, before anything was made of it. */
  async tell(resource: string, object: ApiObject): Promise<number> {
    const about = new Map(KINDS).get(resource);
    if (about === undefined) throw new Error(`no such kind: ${resource}`);
    const { name, namespace } = object.metadata;
    const event = Promise.withResolvers<number>();
    const waiting = { resource, name, seen: event.resolve };
    this.#waiting.add(waiting);
    await this.#write("PATCH", `${collectionOf(resource, about.apiVersion, namespace)}/${name}`, written(object));
    return event.promise.finally(() => this.#waiting.delete(waiting));
  }

  #watched(path: string, { status, lines }: WatchAnswer): WatchAnswer {
    const see = (line: string): void => {
      const at = this.#now();
      for (const { resource, name, seen } of this.#waiting) {
        if (path.includes(`/${resource}?`) && line.includes(`"name":"${name}"`)) seen(at);
      }
    };
    async function* seen(): AsyncGenerator<string> {
      for await (const line of lines) {
        see(line);
        yield line;
      }
    }
    return { status, lines: seen() };
  }
}
