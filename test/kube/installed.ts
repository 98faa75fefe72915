/** A control plane as it was installed: there are no nodes here, so that it runs beside the test. */
import type { GarrisonProcess } from "../feature/garrison.ts";
import type { Place } from "../feature/place.ts";
import type { Cluster } from "./cluster.ts";

export const DEPLOYMENT = "/apis/apps/v1/namespaces/garrison-system/deployments/garrison";

export interface Deployment {
  readonly metadata: { readonly generation: number; readonly resourceVersion: string };
  readonly spec: {
    readonly replicas: number;
    readonly template: { readonly spec: { readonly containers: readonly { readonly args: readonly string[] }[] } };
  };
}

/** Starts it by the container's own command line, but for where it listens and keeps its state, as the installed account. */
export async function startInstalled(place: Place, cluster: Cluster, webhooks = 0): Promise<GarrisonProcess> {
  const { spec } = await cluster.read<Deployment>(DEPLOYMENT);
  const args = spec.template.spec.containers[0]?.args ?? [];
  const token = await cluster.token("garrison-system", "garrison");
  const kubeconfig = cluster.server.writeKubeconfig("installed", { token });
  const own = args.filter((arg) => !/^--(?:listen|webhooks|state)=/.test(arg) && arg !== "--kubernetes");
  // As a kubelet expands it from the field that the container names.
  const expanded = own.map((arg) => arg.replace("$(POD_IP)", "127.0.0.1"));
  return place.start([...expanded, "--kubeconfig", kubeconfig, "--listen", "127.0.0.1:0", "--webhooks", `127.0.0.1:${webhooks}`]);
}
