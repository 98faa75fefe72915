/** A cluster of a mesh whose control plane is in another one: what it has of that (`deploy/helm/garrison-remote`). */
import { AppError } from "../core/error.ts";
import type { KubernetesApi } from "../sources/kubernetes/api.ts";
import { applyObject, type Outcome, readLive, refusal } from "./apply.ts";
import { type Manifest, renderChart } from "./chart.ts";
import { helmRelease, NAMESPACE, nameOf, objectUrl, SECRET } from "./kinds.ts";
import { plain, text } from "./plain.ts";
import type { Reader } from "./remote-secret.ts";
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
  /** Whose namespaces and pods are injected by them. */
  readonly revision: string;
  /** What becomes of such pods while no control plane can be asked. */
  readonly injectionFailure: "Fail" | "Ignore";
  readonly signal: AbortSignal;
  readonly report: (manifest: Manifest, outcome: Outcome | "deleted") => void;
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
  const { api, name, namespace, webhooks, revision, injectionFailure: failurePolicy, report } = options;
  const values = {
    clusterName: name,
    revision,
    injection: { failurePolicy },
    ...(webhooks === undefined ? {} : { webhooks: { url: webhooks } }),
  };
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

/** Takes away what `prepareCluster` made, the webhooks first, so that nobody asks a control plane that is not asked any more. Returns how many objects there were. Throws as `uninstall` does. */
export function leaveCluster(options: Pick<UninstallOptions, "api" | "report">): Promise<number> {
  return uninstall({ ...options, chart: CHART, dryRun: false, schemas: false });
}
