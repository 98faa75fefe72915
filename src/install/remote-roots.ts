/** What shows that a control plane has taken a cluster in: its own roots, in the cluster's namespaces and webhooks. */
import type { KubernetesApi } from "../sources/kubernetes/api.ts";
import { OF_KUBERNETES } from "../sources/kubernetes/namespaces.ts";
import { ROOT_CONFIG_MAPS, ROOT_KEY } from "../sources/kubernetes/watched-kinds.ts";
import { refusal } from "./apply.ts";
import { NAMESPACE, objectUrl, WEBHOOK_KINDS } from "./kinds.ts";
import { list, plain, text } from "./plain.ts";
import type { Missing } from "./wait.ts";

/** The name of the cluster's webhook configurations (the chart garrison-remote). */
const WEBHOOKS = "garrison-remote";

export interface JoiningCluster {
  readonly api: KubernetesApi;
  /** Of the control plane's cluster. */
  readonly home: KubernetesApi;
  /** A namespace there, which has the control plane's roots as all have. */
  readonly homeNamespace: string;
  /** The namespaces in which the control plane's roots are to be. */
  readonly namespaces: readonly string[];
}

function pathOf(namespace: string): string {
  return `/api/v1/namespaces/${namespace}/configmaps/${ROOT_CONFIG_MAPS.only.name}`;
}

/** PEM of the roots that are written there; undefined where none are. Throws as applying does. */
async function rootsIn(api: KubernetesApi, namespace: string): Promise<string | undefined> {
  const answer = await api.call("GET", pathOf(namespace));
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw refusal(answer, `ConfigMap ${namespace}/${ROOT_CONFIG_MAPS.only.name}`);
  return text(plain(plain(answer.body).data)[ROOT_KEY]);
}

/** Those that there are and that roots are written into. */
async function written(api: KubernetesApi, namespaces: readonly string[]): Promise<readonly string[]> {
  const named = namespaces.filter((name) => !OF_KUBERNETES.has(name));
  const found = await Promise.all(named.map(async (name) => (await api.call("GET", objectUrl(NAMESPACE, { name }))).status === 200));
  return named.filter((_, index) => found[index]);
}

/**
 * What does not show yet that the control plane has taken the cluster in. Roots that are not its own show nothing: they are of a control plane
 * that the cluster has besides, or had before. Throws as applying does.
 */
export async function joinMissing({ api, home, homeNamespace, namespaces }: JoiningCluster): Promise<Missing> {
  const own = await rootsIn(home, homeNamespace);
  if (own === undefined)
    return `the control plane has not written its roots into namespace ${homeNamespace} of its own cluster: does it run?`;
  const present = await written(api, namespaces);
  if (present.length === 0)
    return `the control plane writes its roots into no namespace that the cluster speaks for: ${namespaces.join(", ")}`;
  for (const namespace of present)
    if ((await rootsIn(api, namespace)) !== own)
      return `the control plane has not written its roots into namespace ${namespace}; see \`garrison clusters\` there`;
  for (const { apiVersion, resource } of WEBHOOK_KINDS) {
    const { body } = await api.call("GET", `/apis/${apiVersion}/${resource}/${WEBHOOKS}`);
    const bundle = Buffer.from(own).toString("base64");
    const other = list(plain(body).webhooks).find(({ clientConfig }) => text(plain(clientConfig).caBundle) !== bundle);
    if (other !== undefined) return `the control plane has not written its roots into the webhook ${text(other.name)}`;
  }
  return undefined;
}

/** Takes the control plane's roots out of the namespaces, so that they do not show any more that it took the cluster in; others' stay. Throws as applying does. */
export async function forgetJoined({ api, home, homeNamespace, namespaces }: JoiningCluster): Promise<void> {
  const own = await rootsIn(home, homeNamespace);
  for (const namespace of namespaces)
    if (own !== undefined && (await rootsIn(api, namespace)) === own) {
      const answer = await api.call("DELETE", pathOf(namespace));
      if (answer.status !== 404 && answer.status >= 300) throw refusal(answer, `ConfigMap ${namespace}/${ROOT_CONFIG_MAPS.only.name}`);
    }
}
