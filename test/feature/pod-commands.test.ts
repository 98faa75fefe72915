/** Commands in a control plane's pod, which know where it has its state by the environment that the Deployment gives them. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { installedObjects } from "../../src/install/install.ts";
import { GarrisonProcess, garrison } from "./garrison.ts";
import { Place } from "./place.ts";

interface Container {
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

function controlPlane(): Container {
  const deployment = installedObjects("garrison-system", []).find(({ kind }) => kind === "Deployment");
  const { spec } = deployment as unknown as {
    readonly spec: { readonly template: { readonly spec: { readonly containers: [Container] } } };
  };
  return spec.template.spec.containers[0];
}

test("a command in a control plane's pod asks that control plane, and names no folder", async () => {
  const place = new Place({ after }, { "ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n" });
  const { env, volumeMounts } = controlPlane();
  const { mountPath = "" } = volumeMounts.find(({ name }) => name === "state") ?? {};
  const volume = join(place.folder, "volume");
  mkdirSync(volume);
  // The volume is elsewhere here; all else is as in the pod.
  const inPod = Object.fromEntries(
    env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value.replace(mountPath, volume)]])),
  );
  const options = { env: inPod, cwd: place.config };
  const served = new GarrisonProcess(place, ["serve", "--config", place.config, "--listen", "127.0.0.1:0"], options);
  await served.line(/ control plane serves /);
  const { exit, stdout, stderr } = await garrison(["status", "--json"], options);
  assert.equal(exit, 0, stderr);
  assert.deepEqual(Object.keys(JSON.parse(stdout)).includes("workloads"), true);
});
