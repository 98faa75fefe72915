/** What the tests do to a cluster, by the client library that others write theirs with. */
import { once } from "node:events";
import { globSync, readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { type RequestOptions, request } from "node:https";
import { basename, join } from "node:path";
import { ApiException, CoreV1Api, KubeConfig, type KubernetesObject, KubernetesObjectApi, type V1PodStatus } from "@kubernetes/client-node";
import { parse, parseAllDocuments } from "yaml";
import { renderChart } from "../../src/install/chart.ts";
import type { JsonObject } from "../../src/install/template.ts";
import { type ApiAnswer, type KubernetesApi, MERGE_PATCH, openKubernetesApi } from "../../src/sources/kubernetes/api.ts";
import { until } from "../fakes/processes.ts";
import type { Scope } from "../feature/garrison.ts";
import { ApiServer } from "./api-server.ts";

const CRDS = join(import.meta.dirname, "..", "..", "deploy", "helm", "garrison", "crds");
const HOME = "garrison-system";

/** A template of the chart, as it is installed. */
function chartText(name: string, values: readonly JsonObject[] = []): string {
  return renderChart("garrison", HOME, values).texts.get(name) ?? "";
}

/** An object as a file has it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: unknown;
}

function pluralOf(kind: string): string {
  return { AuthorizationPolicy: "authorizationpolicies", WorkloadEntry: "workloadentries" }[kind] ?? `${kind.toLowerCase()}s`;
}

/** Where objects like this one are. */
function collectionOf({ apiVersion, kind, metadata }: Manifest): string {
  const base = apiVersion === "v1" ? "/api/v1" : `/apis/${apiVersion}`;
  return `${base}/namespaces/${metadata.namespace}/${pluralOf(kind)}`;
}

export class Cluster {
  readonly server: ApiServer;
  readonly #objects: KubernetesObjectApi;
  readonly #core: CoreV1Api;

  private constructor(server: ApiServer) {
    this.server = server;
    const config = new KubeConfig();
    config.loadFromFile(server.kubeconfig);
    this.#objects = KubernetesObjectApi.makeApiClient(config);
    this.#core = config.makeApiClient(CoreV1Api);
  }

  /** A cluster with our kinds, but for those whose plural is left out, and our control plane's account; it ends with `scope`. */
  static async start(scope: Scope, { without = [] }: { readonly without?: readonly string[] } = {}): Promise<Cluster> {
    const cluster = await Cluster.bare(scope);
    const plurals = globSync("*.yaml", { cwd: CRDS }).map((file) => basename(file, ".yaml"));
    await cluster.installSchemas(plurals.filter((plural) => !without.includes(plural)));
    await cluster.apply(`apiVersion: v1\nkind: Namespace\nmetadata: { name: ${HOME} }\n`);
    await cluster.apply(chartText("control-plane-rbac.yaml"));
    await cluster.apply(chartText("ca-rbac.yaml"));
    return cluster;
  }

  /** A template of the chart with other values than it has. */
  applyTemplate(name: string, values: JsonObject): Promise<void> {
    return this.apply(chartText(name, [values]));
  }

  /** A cluster with nothing of ours. */
  static async bare(scope: Scope): Promise<Cluster> {
    return new Cluster(await ApiServer.start(scope));
  }

  /** As they stand in their files: the client library would drop what it does not know. `labels`: others than ours. */
  async installSchemas(plurals: readonly string[], { labels }: { readonly labels?: Readonly<Record<string, string>> } = {}): Promise<void> {
    const api = await this.api();
    const paths = await Promise.all(
      plurals.map(async (plural) => {
        const definition = parse(readFileSync(join(CRDS, `${plural}.yaml`), "utf8")) as {
          readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
          readonly spec: { readonly group: string };
        };
        const { metadata } = definition;
        const object = { ...definition, metadata: { ...metadata, labels: labels ?? metadata.labels } };
        const { status, body } = await api.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", object);
        if (status !== 201) throw new Error(`${plural}: ${JSON.stringify(body)}`);
        return `/apis/${definition.spec.group}/v1/${plural}`;
      }),
    );
    for (const path of paths) await until(`${path} is served`, async () => (await api.call("GET", path)).status === 200);
  }

  /** What the API server would say to a new object, fields that it does not know refused; it is not kept. */
  async tryOut(object: Manifest): Promise<ApiAnswer> {
    return (await this.api()).call("POST", `${collectionOf(object)}?dryRun=All&fieldValidation=Strict`, object);
  }

  api(): Promise<KubernetesApi> {
    return openKubernetesApi({ file: this.server.kubeconfig });
  }

  /** What the API server says to a new object, and its warnings; it is kept where it is accepted. */
  async offer(object: Manifest): Promise<{ readonly status: number; readonly message: string; readonly warnings: readonly string[] }> {
    const { status, body, warnings } = await this.#post(collectionOf(object), "application/json", JSON.stringify(object));
    const { message = "" } = body as { readonly message?: string };
    return { status, message, warnings };
  }

  /** What the API server makes of an object as it reads YAML itself, fields that it does not know refused; it is not kept. */
  async tryOutYaml(object: Manifest, text: string): Promise<ApiAnswer> {
    return this.#post(`${collectionOf(object)}?dryRun=All&fieldValidation=Strict`, "application/yaml", text);
  }

  async #post(path: string, type: string, text: string): Promise<ApiAnswer & { readonly warnings: readonly string[] }> {
    const config = new KubeConfig();
    config.loadFromFile(this.server.kubeconfig);
    const options: RequestOptions = {};
    await config.applyToHTTPSOptions(options);
    const headers = { "content-type": type, accept: "application/json" };
    const outgoing = request(this.server.url + path, { ...options, method: "POST", headers });
    outgoing.end(text);
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
    const { warning = [] } = incoming.headersDistinct;
    return { status: incoming.statusCode ?? 0, body, warnings: warning.map((line) => line.replace(/^299 \S+ /, "")) };
  }

  /** An object as it is kept. */
  async read<T>(path: string): Promise<T> {
    return (await (await this.api()).call("GET", path)).body as T;
  }

  async create(object: KubernetesObject): Promise<void> {
    await this.#objects.create(object);
  }

  /** Creates each document of a YAML text. A kind that was defined a moment ago is waited for. */
  async apply(text: string): Promise<void> {
    for (const document of parseAllDocuments(text)) {
      const object = document.toJS() as KubernetesObject;
      let refusal: unknown;
      await until(`${object.kind} ${object.metadata?.name} is created (${String(refusal)})`, async () => {
        try {
          await this.#objects.create(object);
          return true;
        } catch (error) {
          refusal = error;
          return false;
        }
      });
    }
  }

  applyFile(file: string): Promise<void> {
    return this.apply(readFileSync(file, "utf8"));
  }

  /** Our webhooks, with the control plane at a port of this machine. */
  async installWebhooks(port: number, file = "webhooks.yaml"): Promise<void> {
    await this.apply(chartText(file).replaceAll(/service: \{ name: garrison.*path: (\S+),.*\}/g, `url: https://localhost:${port}$1`));
  }

  /** Puts another form in the place of an object's. */
  replace(object: KubernetesObject): Promise<void> {
    return this.#replace(object, (current) => ({
      ...object,
      metadata: { ...object.metadata, resourceVersion: current.metadata?.resourceVersion ?? "" },
    }));
  }

  /** Puts another spec in the place of an object's. */
  replaceSpec({ metadata, ...rest }: KubernetesObject & { readonly spec: unknown }): Promise<void> {
    return this.#replace(
      { ...rest, metadata } as KubernetesObject,
      (current) => ({ ...rest, metadata: current.metadata }) as KubernetesObject,
    );
  }

  /** Again where another, such as a writer of statuses, was in between. */
  async #replace(object: KubernetesObject, next: (current: KubernetesObject) => KubernetesObject): Promise<void> {
    const { name = "", namespace = "" } = object.metadata ?? {};
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#objects.replace(next(await this.#objects.read({ ...object, metadata: { name, namespace } })));
        return;
      } catch (thrown) {
        if (!(thrown instanceof ApiException) || thrown.code !== 409 || attempt === 5) throw thrown;
      }
    }
  }

  /** Changes annotations of an object; null takes one away. */
  async annotate(path: string, annotations: Readonly<Record<string, string | null>>): Promise<void> {
    const { status } = await (await this.api()).call("PATCH", path, { metadata: { annotations } }, MERGE_PATCH);
    if (status !== 200) throw new Error(`${path}: ${status}`);
  }

  async remove(object: KubernetesObject): Promise<void> {
    await this.#objects.delete(object, undefined, undefined, 0);
  }

  /** A pod with a status as its node would write it. */
  async pod(
    namespace: string,
    name: string,
    options: {
      readonly account: string;
      readonly ip: string;
      /** Of the other family. */
      readonly secondIp?: string;
      readonly labels?: Record<string, string>;
      readonly annotations?: Record<string, string>;
      readonly ready?: boolean;
      readonly node?: string;
      readonly hostNetwork?: boolean;
    },
  ): Promise<void> {
    const { account, ip, secondIp, labels = {}, annotations = {}, ready = true, node = "node-1", hostNetwork = false } = options;
    const ports = [{ name: "web", containerPort: 8080 }];
    const spec = { serviceAccountName: account, nodeName: node, hostNetwork, containers: [{ name: "app", image: "none", ports }] };
    await this.#core.createNamespacedPod({ namespace, body: { metadata: { name, labels, annotations }, spec } });
    await this.setPodStatus(namespace, name, {
      phase: "Running",
      podIP: ip,
      podIPs: [ip, secondIp].filter((each) => each !== undefined).map((each) => ({ ip: each })),
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
    });
  }

  /** What a pod's node would write of it. */
  async setPodStatus(namespace: string, name: string, status: V1PodStatus): Promise<void> {
    const current = await this.#core.readNamespacedPod({ namespace, name });
    await this.#core.replaceNamespacedPodStatus({ namespace, name, body: { ...current, status } });
  }

  /** The names of the pods with a label. */
  async podsWith(namespace: string, labelSelector: string): Promise<readonly string[]> {
    const { items } = await this.#core.listNamespacedPod({ namespace, labelSelector });
    return items.map(({ metadata }) => metadata?.name ?? "");
  }

  /** A token of a service account, bound to a pod where one is named. */
  async token(namespace: string, name: string, options: { readonly audience?: string; readonly pod?: string } = {}): Promise<string> {
    const bound = options.pod === undefined ? {} : { boundObjectRef: { apiVersion: "v1", kind: "Pod", name: options.pod } };
    const audiences = options.audience === undefined ? [] : [options.audience];
    const answer = await this.#core.createNamespacedServiceAccountToken({
      namespace,
      name,
      body: { spec: { audiences, expirationSeconds: 3600, ...bound } },
    });
    return answer.status?.token ?? "";
  }

  /** The kubeconfig of the control plane's own account, with no more rights than it is given. */
  async controlPlaneKubeconfig(): Promise<string> {
    return this.server.writeKubeconfig("garrison", { token: await this.token("garrison-system", "garrison") });
  }
}
