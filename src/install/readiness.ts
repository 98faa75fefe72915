/** Whether an installation is ready, and what it waits for. */
import type { KubernetesApi } from "../sources/kubernetes/api.ts";
import { readLive, refusal } from "./apply.ts";
import type { Manifest } from "./chart.ts";
import { DEPLOYMENT, type InstalledKind, nameOf, STATEFUL_SET, WEBHOOK_KINDS } from "./kinds.ts";
import { count, list, plain, text } from "./plain.ts";
import type { Missing } from "./wait.ts";

/** Of a schema: whether its kind can be asked for. */
export async function isServed(api: KubernetesApi, manifest: Manifest): Promise<Missing> {
  const live = await readLive(api, manifest);
  const established = list(plain(live?.status).conditions).find(({ type }) => type === "Established");
  return established?.status === "True" ? undefined : text(established?.message) || "the API server has not taken it up";
}

/** Why the pods of the control plane wait: an image that is not there, a node that is full. */
async function podTroubles(api: KubernetesApi, namespace: string): Promise<readonly string[]> {
  const { status, body } = await api.call("GET", `/api/v1/namespaces/${namespace}/pods?labelSelector=app%3Dgarrison`);
  if (status !== 200) return [];
  return list(plain(body).items).flatMap((pod) => {
    const { conditions, containerStatuses } = plain(pod.status);
    const waiting = list(containerStatuses).map((container) => plain(plain(container.state).waiting));
    const unscheduled = list(conditions).filter(({ type, status: value }) => type === "PodScheduled" && value === "False");
    return [...waiting, ...unscheduled]
      .map(({ reason, message }) => [reason, message].map(text).filter(Boolean).join(": "))
      .filter(Boolean);
  });
}

/** What the Deployment or StatefulSet still lacks: all of its pods of the newest form, available. */
export async function controlPlanesMissing(api: KubernetesApi, namespace: string): Promise<Missing> {
  const named = ({ apiVersion, kind }: InstalledKind): Manifest => ({ apiVersion, kind, metadata: { name: "garrison", namespace } });
  const stateful = await readLive(api, named(STATEFUL_SET));
  const name = named(stateful === undefined ? DEPLOYMENT : STATEFUL_SET);
  const live = stateful ?? (await readLive(api, name));
  if (live === undefined) return `there is no ${nameOf(name)}`;
  const { replicas: wanted } = plain(live.spec);
  const { observedGeneration, updatedReplicas, availableReplicas } = plain(live.status);
  const { generation } = plain(live.metadata);
  if (count(observedGeneration) < count(generation)) return `no controller has taken up ${nameOf(name)} yet`;
  const ready = Math.min(count(updatedReplicas), count(availableReplicas));
  if (ready >= count(wanted)) return undefined;
  const troubles = await podTroubles(api, namespace);
  return [`${ready} of ${count(wanted)} control planes are ready`, ...new Set(troubles)].join("; ").slice(0, 1000);
}

/** The webhooks of our configurations, by their names, with the PEM by which the API server knows the control plane; null where it has none. */
export async function webhookBundles(api: KubernetesApi): Promise<ReadonlyMap<string, string | null>> {
  const bundles = new Map<string, string | null>();
  for (const { apiVersion, kind, resource } of WEBHOOK_KINDS) {
    const answer = await api.call("GET", `/apis/${apiVersion}/${resource}/garrison`);
    if (answer.status === 404) continue;
    if (answer.status !== 200) throw refusal(answer, `${kind} garrison`);
    for (const { name, clientConfig } of list(plain(answer.body).webhooks)) {
      const bundle = text(plain(clientConfig).caBundle);
      bundles.set(text(name), bundle === "" ? null : Buffer.from(bundle, "base64").toString("utf8"));
    }
  }
  return bundles;
}

/** What an installation still lacks before it serves. */
export async function installationMissing(api: KubernetesApi, namespace: string): Promise<Missing> {
  const missing = await controlPlanesMissing(api, namespace);
  if (missing !== undefined) return missing;
  const bundles = await webhookBundles(api);
  if (bundles.size === 0) return "there are no webhooks";
  const bare = [...bundles].find(([, bundle]) => bundle === null);
  return bare === undefined ? undefined : `the control plane has not written its root into the webhook ${bare[0]}`;
}
