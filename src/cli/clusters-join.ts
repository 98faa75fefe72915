import { applyObject } from "../install/apply.ts";
import { nameOf } from "../install/kinds.ts";
import { forgetJoined, joinMissing } from "../install/remote-roots.ts";
import { readRemoteSecret } from "../install/remote-secret.ts";
import { until } from "../install/wait.ts";
import { openKubernetesApi } from "../sources/kubernetes/api.ts";
import { askedCluster, CONTROL_PLANE_KUBECONFIG, joiningCluster, PREPARE_OPTIONS, prepare } from "./clusters/options.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { required } from "./options.ts";

export const command: Command = {
  name: "clusters join",
  summary:
    "Has a control plane elsewhere take this cluster in: prepares the cluster as `clusters create-remote-secret` does, and puts the Secret where the control plane looks for it. Twice is the same as once.",
  options: {
    ...PREPARE_OPTIONS,
    "control-plane-kubeconfig": CONTROL_PLANE_KUBECONFIG,
    "no-wait": { type: "flag", doc: "do not wait until the control plane has taken the cluster in" },
  },
  examples: [
    "garrison clusters join --name west --kubeconfig west.kubeconfig --control-plane-kubeconfig east.kubeconfig --webhooks https://mesh.example.org",
    "garrison clusters join --name west --kubeconfig west.kubeconfig --control-plane-kubeconfig east.kubeconfig --only-namespace shop",
  ],
  run: async (parsed) => {
    const tell = (line: string): void => void process.stdout.write(`${line}\n`);
    const home = await openKubernetesApi({ file: required(parsed, "control-plane-kubeconfig") });
    const { name, secretNamespace } = askedCluster(parsed);
    // Another cluster's Secret stays as it is, and then nothing is done here either.
    const known = await readRemoteSecret({ home, name, namespace: secretNamespace });
    const { api, namespace, namespaces, secret, signal } = await prepare(parsed, tell);
    const joining = joiningCluster({ api, home, namespace, secretNamespace, namespaces });
    const waits = !parsed.flag("no-wait");
    // What was written before this shows nothing.
    if (waits && known === undefined) await forgetJoined(joining);
    const outcome = await applyObject({ api: home, dryRun: false, force: false }, secret);
    tell(`${nameOf(secret)} ${outcome} in the control plane's cluster`);
    if (!waits) return EXIT.ok;
    process.stderr.write("waiting for the control plane\n");
    await until(`the control plane has taken cluster ${name} in`, () => joinMissing(joining), signal);
    tell(`the control plane has taken cluster ${name} in`);
    return EXIT.ok;
  },
};
