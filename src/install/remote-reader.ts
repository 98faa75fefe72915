/** The account by which another cluster's control plane reads this cluster, and the Secret that tells that control plane of it. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { AppError } from "../core/error.ts";
import { APPLY_PATCH, type HttpsApi } from "../sources/kubernetes/api.ts";
import { NAMESPACES_ANNOTATION, REMOTE_SECRET_LABEL } from "../sources/kubernetes/remote/remote-secrets.ts";
import { applyObject, type Outcome, refusal } from "./apply.ts";
import type { Manifest } from "./chart.ts";
import { isObject } from "./template.ts";
import { until } from "./wait.ts";

const MANIFEST = fileURLToPath(new URL("../../deploy/kubernetes/remote-cluster.yaml", import.meta.url));
const ACCOUNT = "garrison-remote-reader";
const TOKEN = `${ACCOUNT}-token`;
/** The namespace in the manifest. */
const HOME = "garrison-system";

export interface RemoteReaderOptions {
  readonly api: HttpsApi;
  /** The account's namespace. */
  readonly namespace: string;
  readonly signal: AbortSignal;
  readonly report: (manifest: Manifest, outcome: Outcome) => void;
}

/** What the reader's token is and who issued it. */
interface Reader {
  readonly token: string;
  /** PEM of the API server's root, in base64. */
  readonly ca: string;
}

function dataOf(body: unknown): Readonly<Record<string, unknown>> {
  return isObject(body) && isObject(body.data) ? body.data : {};
}

/** Applies the account with its rights, and waits for its token. Throws as applying does, and `deadline-exceeded`. */
export async function applyRemoteReader({ api, namespace, signal, report }: RemoteReaderOptions): Promise<Reader> {
  const text = readFileSync(MANIFEST, "utf8").replaceAll(HOME, namespace);
  for (const document of parseAllDocuments(text)) {
    const manifest = document.toJS() as Manifest;
    report(manifest, await applyObject({ api, dryRun: false, force: false }, manifest));
  }
  const path = `/api/v1/namespaces/${namespace}/secrets/${TOKEN}`;
  const secret = {
    apiVersion: "v1",
    kind: "Secret",
    type: "kubernetes.io/service-account-token",
    metadata: { name: TOKEN, namespace, annotations: { "kubernetes.io/service-account.name": ACCOUNT } },
  };
  const applied = await api.call("PATCH", `${path}?fieldManager=garrison`, secret, APPLY_PATCH);
  if (applied.status !== 200 && applied.status !== 201) throw refusal(applied, `Secret ${namespace}/${TOKEN}`);
  let found: Readonly<Record<string, unknown>> = {};
  await until(
    "the cluster has issued the account's token",
    async () => {
      const answer = await api.call("GET", path);
      if (answer.status !== 200) throw refusal(answer, `Secret ${namespace}/${TOKEN}`);
      found = dataOf(answer.body);
      return typeof found.token === "string" && typeof found["ca.crt"] === "string" ? undefined : `Secret ${namespace}/${TOKEN} holds none`;
    },
    signal,
  );
  return { token: Buffer.from(String(found.token), "base64").toString("utf8"), ca: String(found["ca.crt"]) };
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
    apiVersion: "v1",
    kind: "Secret",
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
