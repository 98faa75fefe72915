/** The Secrets that name other clusters, as `istioctl create-remote-secret` makes them: a key for each cluster, its kubeconfig the value. */
import { hash } from "node:crypto";
import type { Diagnostic } from "../../../core/diagnostic.ts";
import { AppError } from "../../../core/error.ts";
import { isDnsLabel } from "../../../policy/decode/kubernetes-name.ts";
import { type ApiObject, annotationsOf, isPlain } from "../api-objects.ts";
import type { WatchedKind } from "../watched-kinds.ts";
import { type RemoteKubeconfig, readRemoteKubeconfig } from "./kubeconfig.ts";

/** Istio's label of such Secrets, with its value. */
export const REMOTE_SECRET_LABEL = "istio/multiCluster";

/** The namespaces that the cluster may speak for, by commas; without, all. */
export const NAMESPACES_ANNOTATION = "garrison.dev/namespaces";

/** As many are taken; each costs five watches. */
const MAX_CLUSTERS = 32;
const MAX_NAME = 128;

/** The Secrets of one namespace that carry the label; no other is asked for. */
export function remoteSecretKind(namespace: string): WatchedKind {
  const labelled = { namespace, label: `${REMOTE_SECRET_LABEL}=true` };
  return { kind: "Secret", resource: "secrets", group: "", versions: ["v1"], reading: "decoded", labelled };
}

/** One cluster, as a Secret names it. */
export interface NamedCluster {
  readonly name: string;
  /** `NAMESPACE/NAME`. */
  readonly secret: string;
  /** What cannot be taken, and why. */
  readonly kubeconfig: RemoteKubeconfig | AppError;
  /** A digest of the kubeconfig's text. */
  readonly digest: string;
  /** Undefined: all. */
  readonly namespaces: ReadonlySet<string> | undefined;
}

export interface NamedClusters {
  readonly clusters: ReadonlyMap<string, NamedCluster>;
  readonly diagnostics: readonly Diagnostic[];
}

function createdAt({ body }: ApiObject): number {
  const text = isPlain(body.metadata) ? body.metadata.creationTimestamp : undefined;
  return typeof text === "string" ? Date.parse(text) : 0;
}

/** The oldest first: a Secret that comes later takes no cluster's place. */
function byAge(left: ApiObject, right: ApiObject): number {
  return createdAt(left) - createdAt(right) || (left.metadata.name < right.metadata.name ? -1 : 1);
}

/** Throws `invalid-configuration`: a restriction that cannot be read restricts to nothing. */
function namespacesOf({ body }: ApiObject): ReadonlySet<string> | undefined {
  const text = annotationsOf(body)[NAMESPACES_ANNOTATION];
  if (text === undefined) return undefined;
  const names = String(text)
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const wrong = names.find((name) => !isDnsLabel(name));
  if (wrong !== undefined)
    throw new AppError(
      "invalid-configuration",
      `\`${wrong.slice(0, 100)}\` in the annotation \`${NAMESPACES_ANNOTATION}\` is not a namespace`,
    );
  return new Set(names);
}

function read(secret: ApiObject, name: string, value: unknown): NamedCluster {
  const of = `${secret.metadata.namespace}/${secret.metadata.name}`;
  const text = typeof value === "string" ? Buffer.from(value, "base64").toString("utf8") : "";
  const digest = hash("sha256", text);
  try {
    return { name, secret: of, namespaces: namespacesOf(secret), kubeconfig: readRemoteKubeconfig(text), digest };
  } catch (thrown) {
    return { name, secret: of, namespaces: new Set(), kubeconfig: AppError.from(thrown), digest };
  }
}

function place({ metadata }: ApiObject) {
  return { file: `Secret ${metadata.namespace}/${metadata.name}`, line: 0, column: 0 };
}

function refused(secret: ApiObject, name: string, why: string, help: string): Diagnostic {
  return { code: "GAR0360", message: `cluster \`${name.slice(0, MAX_NAME)}\` is not taken in: ${why}`, place: place(secret), help };
}

/** Why a name cannot be a cluster's here. */
function nameProblem(name: string, own: string, known: ReadonlyMap<string, NamedCluster>): readonly [string, string] | undefined {
  if (name === own)
    return ["it is this cluster's own name", "name this one by `garrison serve --cluster`, or the other one by its Secret's key"];
  if (name.length > MAX_NAME) return [`its name is longer than ${MAX_NAME} characters`, "name it by a shorter key"];
  const taken = known.get(name);
  if (taken !== undefined) return [`Secret \`${taken.secret}\` names it already`, "remove one of them"];
  return known.size >= MAX_CLUSTERS ? [`there are more than ${MAX_CLUSTERS}`, "remove Secrets of clusters that are gone"] : undefined;
}

/** The clusters that Secrets name, each once. `own` is this cluster's own name. */
export function namedClusters(secrets: readonly ApiObject[], own: string): NamedClusters {
  const clusters = new Map<string, NamedCluster>();
  const diagnostics: Diagnostic[] = [];
  for (const secret of secrets.toSorted(byAge)) {
    const data = isPlain(secret.body.data) ? secret.body.data : {};
    for (const [name, value] of Object.entries(data).sort(([left], [right]) => (left < right ? -1 : 1))) {
      const problem = nameProblem(name, own, clusters);
      if (problem !== undefined) {
        diagnostics.push(refused(secret, name, ...problem));
        continue;
      }
      const cluster = read(secret, name, value);
      clusters.set(name, cluster);
      if (!(cluster.kubeconfig instanceof AppError)) continue;
      const help = cluster.kubeconfig.help ?? "make the Secret anew: `garrison clusters create-remote-secret`";
      diagnostics.push(refused(secret, name, cluster.kubeconfig.message, help));
    }
  }
  return { clusters, diagnostics };
}
