import { nameOf } from "../install/kinds.ts";
import { leaveCluster, removeRemoteSecret } from "../install/remote-cluster.ts";
import { openKubernetesApi } from "../sources/kubernetes/api.ts";
import { askedCluster, CLUSTER_OPTIONS, CONTROL_PLANE_KUBECONFIG } from "./clusters/options.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { required } from "./options.ts";

export const command: Command = {
  name: "clusters leave",
  summary:
    "Takes a cluster out of the mesh: removes what `clusters join` made in it, and its Secret in the control plane's cluster. Its workloads' certificates stay good until they expire or are revoked.",
  options: { ...CLUSTER_OPTIONS, "control-plane-kubeconfig": CONTROL_PLANE_KUBECONFIG },
  examples: ["garrison clusters leave --name west --kubeconfig west.kubeconfig --control-plane-kubeconfig east.kubeconfig"],
  run: async (parsed) => {
    const { name, namespace, secretNamespace } = askedCluster(parsed);
    const home = await openKubernetesApi({ file: required(parsed, "control-plane-kubeconfig") });
    const api = await openKubernetesApi({ file: parsed.value("kubeconfig") });
    const found = await leaveCluster({
      api,
      namespace,
      report: (manifest, outcome) => void process.stdout.write(`${nameOf(manifest)} ${outcome}\n`),
    });
    if (found === 0) process.stdout.write("nothing of ours is in the cluster\n");
    const isGone = await removeRemoteSecret(home, name, secretNamespace);
    process.stdout.write(
      isGone ? `cluster ${name} is out of the mesh\n` : `the control plane's cluster has no Secret of cluster ${name}\n`,
    );
    return EXIT.ok;
  },
};
