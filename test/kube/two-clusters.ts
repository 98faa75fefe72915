/** Two clusters in one mesh: `east`, whose policies hold, and `west`, whose kubeconfig is in a Secret of the east. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { callAdmin } from "../../src/cli/admin-client.ts";
import type { ClusterStatus } from "../../src/server/cluster/cluster-status.ts";
import { GarrisonProcess, garrison } from "../feature/garrison.ts";
import type { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith } from "./objects.ts";

export const SECRETS = "istio-system";
export const SECRET = { apiVersion: "v1", kind: "Secret", metadata: { name: "istio-remote-secret-west", namespace: SECRETS } };

/** What both have: a namespace and its accounts. */
const SHOP = `${namespaceWith("shop", ["pay", "caller"])}${namespaceWith("other", ["pay"])}`;

export interface TwoClusters {
  readonly east: Cluster;
  readonly west: Cluster;
  /** The west's Secret, as `garrison clusters create-remote-secret` prints it. */
  readonly secret: string;
}

/** The Secret for a cluster of this name, by the command. */
async function remoteSecret({ server }: Cluster, name: string): Promise<string> {
  server.startControllers(["serviceaccount-token-controller"]);
  const { exit, stdout, stderr } = await garrison(["clusters", "create-remote-secret", "--kubeconfig", server.kubeconfig, "--name", name]);
  if (exit !== 0) throw new Error(stderr);
  return stdout;
}

/** Both started, with what they have in common; the east's control plane has the rights that the chart gives. */
export async function twoClusters(place: Place): Promise<TwoClusters> {
  const [east, west] = await Promise.all([Cluster.start(place), Cluster.bare(place)]);
  await Promise.all([east.apply(SHOP), west.apply(SHOP)]);
  await east.apply(`apiVersion: v1\nkind: Namespace\nmetadata: { name: ${SECRETS} }\n`);
  await east.applyTemplate("multi-cluster.yaml", { multiCluster: { enabled: true } });
  return { east, west, secret: await remoteSecret(west, "west") };
}

/** The control plane of the east, by the account that the chart gives it. */
export async function serveEast(place: Place, { east }: TwoClusters, ...flags: readonly string[]): Promise<GarrisonProcess> {
  const config = ["--kubeconfig", await east.controlPlaneKubeconfig(), "--cluster", "east", "--remote-clusters", SECRETS];
  const serve = place.start(["serve", ...config, "--listen", "127.0.0.1:0", ...flags]);
  await serve.line(/ control plane serves /);
  return serve;
}

/** How it stands with a cluster; undefined for one that the control plane does not know. */
export async function clusterNamed(place: Place, name: string): Promise<ClusterStatus | undefined> {
  const found = (await callAdmin(place.controlPlane().adminSocket, "GET", "/v1/clusters")) as readonly ClusterStatus[];
  return found.find((cluster) => cluster.name === name);
}

export interface AgentOf {
  readonly cluster: string;
  /** `NAMESPACE/NAME` in its cluster. */
  readonly workload: string;
  readonly token: string;
}

/** An agent with the embedded proxy, and a command beside it, which runs once the proxy is ready. */
export function startAgent(place: Place, { cluster, workload, token }: AgentOf, command: readonly string[]): GarrisonProcess {
  const { host, port, rootCertificate } = place.controlPlane();
  const file = join(place.folder, `${cluster}-token`);
  writeFileSync(file, token);
  const where = ["--control-plane", `${host}:${port}`, "--root-ca", rootCertificate, "--token-file", file, "--cluster", cluster];
  const state = join(place.folder, cluster);
  return new GarrisonProcess(place, ["run", ...where, "--workload", workload, "--proxy", "embedded", "--state", state, "--", ...command]);
}
