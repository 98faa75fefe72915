/** A cluster of a mesh whose control plane is in another one: what it has of that (`deploy/helm/garrison-remote`), and the Secret that tells the control plane of it. */
import { AppError } from "../core/error.ts";
import type { KubernetesApi } from "../sources/kubernetes/api.ts";
import { NAMESPACES_ANNOTATION, REMOTE_SECRET_LABEL } from "../sources/kubernetes/remote/remote-secrets.ts";
import { ROOT_CONFIG_MAPS } from "../sources/kubernetes/watched-kinds.ts";
import { applyObject, type Outcome, readLive, refusal } from "./apply.ts";
import { type Manifest, renderChart } from "./chart.ts";
import { helmRelease, NAMESPACE, nameOf, objectUrl, SECRET, WEBHOOK_KINDS } from "./kinds.ts";
import { list, plain, text } from "./plain.ts";
import { prune, type UninstallOptions, uninstall } from "./uninstall.ts";
import { type Missing, until } from "./wait.ts";

const CHART = "garrison-remote";

export interface PrepareOptions {
  readonly api: KubernetesApi;
  /** The cluster's name in the mesh. */
  readonly name: string;
  /** Where what the control plane needs is put. */
  readonly namespace: string;
  /** Where the API server reaches the control plane's webhooks; undefined: there are none. */
  readonly webhooks: string | undefined;
  readonly signal: AbortSignal;
  readonly report: (manifest: Manifest, outcome: Outcome | "deleted") => void;
}

/** What the reader's token is and who issued it. */
interface Reader {
  readonly token: string;
  /** PEM of the API server's root, in base64. */
  readonly ca: string;
}

function homeOf(namespace: string): Manifest {
  return {
    apiVersion: NAMESPACE.apiVersion,
    kind: NAMESPACE.kind,
    metadata: { name: namespace, labels: { "istio-injection": "disabled" } },
  };
}

/** The token that the chart's Secret gets of the cluster. Throws `deadline-exceeded` where no controller issues it. */
async function readerOf({ api, signal }: PrepareOptions, secret: Manifest): Promise<Reader> {
  const where = nameOf(secret);
  let found: Reader = { token: "", ca: "" };
  const missing = async (): Promise<Missing> => {
    const answer = await api.call("GET", objectUrl(SECRET, secret.metadata));
    if (answer.status !== 200) throw refusal(answer, where);
    const data = plain(plain(answer.body).data);
    found = { token: Buffer.from(text(data.token), "base64").toString("utf8"), ca: text(data["ca.crt"]) };
    return found.token !== "" && found.ca !== "" ? undefined : `${where} holds none`;
  };
  await until("the cluster has issued the account's token", missing, signal);
  return found;
}

/**
 * Applies what the control plane needs here, takes away what it had before with other options, and waits for the token of its account. What Helm
 * installed stays as it is. Throws as applying does, and `deadline-exceeded`.
 */
export async function prepareCluster(options: PrepareOptions): Promise<Reader> {
  const { api, name, namespace, webhooks, report } = options;
  const values = { clusterName: name, ...(webhooks === undefined ? {} : { webhooks: { url: webhooks } }) };
  const { objects } = renderChart(CHART, namespace, [values]);
  const secret = objects.find(({ kind }) => kind === SECRET.kind);
  if (secret === undefined) throw new AppError("internal", "the chart has no Secret for its account's token");
  const live = await readLive(api, secret);
  if (live !== undefined && helmRelease(live) !== undefined) return readerOf(options, secret);
  const home = homeOf(namespace);
  const isThere = (await readLive(api, home)) !== undefined;
  const apply = { api, dryRun: false, force: false };
  for (const manifest of isThere ? objects : [home, ...objects]) report(manifest, await applyObject(apply, manifest));
  await prune({ api, chart: CHART, dryRun: false, report }, objects);
  return readerOf(options, secret);
}

/** What shows that a control plane has taken the cluster in: its roots, in the namespace and in the webhooks. */
export async function joinMissing(api: KubernetesApi, namespace: string): Promise<Missing> {
  const { status } = await api.call("GET", rootsPath(namespace));
  if (status !== 200) return `no control plane has written its roots into namespace ${namespace}; see \`garrison clusters\` there`;
  for (const { apiVersion, resource } of WEBHOOK_KINDS) {
    const { body } = await api.call("GET", `/apis/${apiVersion}/${resource}/${CHART}`);
    const bare = list(plain(body).webhooks).find(({ clientConfig }) => text(plain(clientConfig).caBundle) === "");
    if (bare !== undefined) return `no control plane has written its roots into the webhook ${text(bare.name)}`;
  }
  return undefined;
}

function rootsPath(namespace: string): string {
  return `/api/v1/namespaces/${namespace}/configmaps/${ROOT_CONFIG_MAPS.only.name}`;
}

/** Takes away what `prepareCluster` made, the webhooks first, so that nobody asks a control plane that is not asked any more. Returns how many objects there were. */
export async function leaveCluster({
  api,
  namespace,
  report,
}: Omit<UninstallOptions, "schemas" | "chart" | "dryRun"> & { readonly namespace: string }): Promise<number> {
  const count = await uninstall({ api, chart: CHART, dryRun: false, schemas: false, report });
  // What shows that the cluster was taken in is not to show it any more.
  if (count > 0) await api.call("DELETE", rootsPath(namespace));
  return count;
}

export interface RemoteSecretOptions {
  /** The cluster's name. */
  readonly name: string;
  /** The API server's URL, as the other control plane reaches it. */
  readonly server: string;
  readonly reader: Reader;
  /** Where the other control plane looks for it. */
  readonly namespace: string;
  /** The namespaces that the cluster may speak for; none: all. */
  readonly namespaces: readonly string[];
}

/** Names of objects are narrower than those of clusters. */
function secretName(cluster: string): string {
  const name = `istio-remote-secret-${cluster.toLowerCase().replace(/[^-.a-z0-9]+/g, "-")}`;
  if (/[a-z0-9]$/.test(name)) return name;
  throw new AppError("invalid-argument", `\`${cluster}\` ends in no letter or digit`, { help: "give the cluster another name" });
}

/** The Secret for the other cluster, as `istioctl create-remote-secret` prints it. */
export function remoteSecret({ name, server, reader, namespace, namespaces }: RemoteSecretOptions): Manifest {
  const kubeconfig = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": name,
    clusters: [{ name, cluster: { server, "certificate-authority-data": reader.ca } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    users: [{ name, user: { token: reader.token } }],
  };
  return {
    apiVersion: SECRET.apiVersion,
    kind: SECRET.kind,
    metadata: {
      name: secretName(name),
      namespace,
      labels: { [REMOTE_SECRET_LABEL]: "true" },
      annotations: {
        "networking.istio.io/cluster": name,
        ...(namespaces.length === 0 ? {} : { [NAMESPACES_ANNOTATION]: namespaces.join(",") }),
      },
    },
    type: "Opaque",
    stringData: { [name]: JSON.stringify(kubeconfig) },
  };
}

/** Removes the Secret by which the control plane in a cluster knows another one; false where there is none. Throws as applying does. */
export async function removeRemoteSecret(api: KubernetesApi, name: string, namespace: string): Promise<boolean> {
  const answer = await api.call("DELETE", objectUrl(SECRET, { name: secretName(name), namespace }));
  if (answer.status === 404) return false;
  if (answer.status >= 300) throw refusal(answer, `Secret ${namespace}/${secretName(name)}`);
  return true;
}
