/** The Secret by which a control plane knows a cluster elsewhere, as `istioctl create-remote-secret` makes it. */
import { AppError } from "../core/error.ts";
import type { KubernetesApi } from "../sources/kubernetes/api.ts";
import { NAMESPACES_ANNOTATION, REMOTE_SECRET_LABEL } from "../sources/kubernetes/remote/remote-secrets.ts";
import { readLive, refusal } from "./apply.ts";
import type { Manifest } from "./chart.ts";
import { nameOf, objectUrl, SECRET } from "./kinds.ts";
import { plain } from "./plain.ts";

/** Istio's, with the cluster's name. */
const CLUSTER_ANNOTATION = "networking.istio.io/cluster";

/** What the reader's token is and who issued it. */
export interface Reader {
  readonly token: string;
  /** PEM of the API server's root, in base64. */
  readonly ca: string;
}

/** Names of objects are narrower than those of clusters, so that two may come to one. Throws `invalid-argument`. */
function secretName(cluster: string): string {
  const name = `istio-remote-secret-${cluster.toLowerCase().replace(/[^-.a-z0-9]+/g, "-")}`;
  if (/[a-z0-9]$/.test(name)) return name;
  throw new AppError("invalid-argument", `\`${cluster}\` ends in no letter or digit`, { help: "give the cluster another name" });
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

/** The Secret for the other cluster. Throws `invalid-argument` for a name that no Secret can have. */
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
        [CLUSTER_ANNOTATION]: name,
        ...(namespaces.length === 0 ? {} : { [NAMESPACES_ANNOTATION]: namespaces.join(",") }),
      },
    },
    type: "Opaque",
    stringData: { [name]: JSON.stringify(kubeconfig) },
  };
}

export interface RemoteSecretPlace {
  /** Of the control plane's cluster. */
  readonly home: KubernetesApi;
  /** The other cluster's name. */
  readonly name: string;
  /** Where the Secret is. */
  readonly namespace: string;
}

/** As the control plane's cluster has it; undefined where it has none. Throws `already-exists` where it is another cluster's, and as `readLive` does. */
export async function readRemoteSecret({ home, name, namespace }: RemoteSecretPlace): Promise<Manifest | undefined> {
  const { apiVersion, kind } = SECRET;
  const live = await readLive(home, { apiVersion, kind, metadata: { name: secretName(name), namespace } });
  if (live === undefined) return undefined;
  const named = live.metadata.annotations?.[CLUSTER_ANNOTATION];
  const other = [...(named === undefined ? [] : [named]), ...Object.keys(plain(live.data))].find((cluster) => cluster !== name);
  if (other === undefined) return live;
  throw new AppError("already-exists", `the Secret for cluster \`${name}\` names cluster \`${other.slice(0, 128)}\``, {
    where: nameOf({ kind, metadata: live.metadata }),
    help: "it stays as it is: check the name (capitals and `_` make no other Secret), or edit the Secret yourself",
  });
}

/** The namespaces that a cluster may speak for; none: all. */
export function namespacesOf({ metadata }: Manifest): readonly string[] {
  const text = metadata.annotations?.[NAMESPACES_ANNOTATION] ?? "";
  return text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}

/** Throws as applying does. */
export async function removeRemoteSecret(home: KubernetesApi, secret: Manifest): Promise<void> {
  const answer = await home.call("DELETE", objectUrl(SECRET, secret.metadata));
  if (answer.status !== 404 && answer.status >= 300) throw refusal(answer, nameOf(secret));
}
