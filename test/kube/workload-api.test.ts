/**
 * The Workload API of an injected pod: what the webhook made of the pod in a real API server, its containers run as processes that have just their
 * own mounts and users, and go-spiffe in place of the application.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { GarrisonProcess, type Result } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";

const TOOLS = process.env.GARRISON_GO_TOOLS ?? "";
const required = process.env.GARRISON_REQUIRE_GO === "1";
const missing = TOOLS === "" ? "there are no Go tools" : process.getuid?.() === 0 ? false : "mounts are root's to make";
const IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart";
const NOBODY = 65_534;
const AGENT = 1337;

interface Container {
  readonly name: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[];
}

interface Pod {
  readonly spec: { readonly containers: readonly Container[]; readonly initContainers: readonly Container[] };
}

const NAMESPACES = `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio-injection: enabled } }
---
apiVersion: v1
kind: Namespace
metadata: { name: istio-system }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: cart, namespace: shop }
`;

describe("the Workload API of an injected pod", { skip: required ? false : missing, timeout: 180_000 }, () => {
  const place = new Place({ after });
  let cluster: Cluster;
  let pod: Pod;
  let agent: GarrisonProcess;

  const containerOf = (name: string): Container => {
    const { containers, initContainers } = pod.spec;
    const found = [...initContainers, ...containers].find((each) => each.name === name);
    assert.ok(found, name);
    return found;
  };
  const folderOf = (volume: string): string => join(place.folder, "volumes", volume);

  /** What runs a program as a node runs a container's: its mounts, its user, and no others' files below /run. */
  function prefixOf({ volumeMounts = [] }: Container, uid: number): readonly string[] {
    const mounts = volumeMounts.flatMap(({ name, mountPath, readOnly = false }) => [
      `mkdir -p ${mountPath}`,
      `mount --bind ${folderOf(name)} ${mountPath}`,
      ...(readOnly ? [`mount -o remount,ro,bind ${mountPath}`] : []),
    ]);
    const script = ["set -e", "mount -t tmpfs tmpfs /run", ...mounts, `exec setpriv --reuid=${uid} --regid=${uid} --clear-groups "$@"`];
    return ["unshare", "--mount", "sh", "-c", script.join("\n"), "sh"];
  }

  function inContainer(name: string, argv: readonly string[]): Promise<Result> {
    const container = containerOf(name);
    const env = Object.fromEntries((container.env ?? []).flatMap(({ name: key, value }) => (value === undefined ? [] : [[key, value]])));
    const [program = "", ...args] = [...prefixOf(container, NOBODY), ...argv];
    return new Promise((resolve) => {
      execFile(program, args, { env: { PATH: process.env.PATH ?? "", ...env }, timeout: 30_000 }, (error, stdout, stderr) =>
        resolve({ exit: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
      );
    });
  }

  const spiffe = (name: string, ...args: readonly string[]) => inContainer(name, [join(TOOLS, "spiffe-client"), ...args]);

  /** The volumes as the kubelet makes them: everybody's where they are empty. */
  async function makeVolumes(): Promise<void> {
    for (const volume of ["garrison-token", "garrison-roots", "garrison-state", "garrison-workload-api"]) {
      mkdirSync(folderOf(volume), { recursive: true });
      chmodSync(folderOf(volume), 0o777);
    }
    const token = await cluster.token("shop", "cart", { audience: "istio-ca", pod: "cart" });
    writeFileSync(join(folderOf("garrison-token"), "istio-token"), token, { mode: 0o644 });
    const path = "/api/v1/namespaces/shop/configmaps/istio-ca-root-cert";
    let roots: Readonly<Record<string, string>> = {};
    await until("the roots are there", async () => {
      roots = (await cluster.read<{ readonly data?: Readonly<Record<string, string>> }>(path)).data ?? {};
      return roots["root-cert.pem"] !== undefined;
    });
    for (const [name, text] of Object.entries(roots)) writeFileSync(join(folderOf("garrison-roots"), name), text, { mode: 0o644 });
  }

  /** The sidecar's command line but for its proxy, as there is no network of the pod's, and with the names that a node puts in. */
  async function startAgent(): Promise<void> {
    const sidecar = containerOf("garrison-proxy");
    const args = (sidecar.args ?? [])
      .filter((arg) => !/^--(?:proxy|health-listen|app-probes)=/.test(arg))
      .map((arg) => arg.replace("$(POD_NAMESPACE)", "shop").replace("$(POD_NAME)", "cart"));
    agent = new GarrisonProcess(place, [...args, "--proxy=none"], { prefix: prefixOf(sidecar, AGENT) });
    await agent.line(/certificate received/);
  }

  before(async () => {
    // Other users are to reach the volumes.
    chmodSync(place.folder, 0o755);
    cluster = await Cluster.start(place);
    await cluster.apply(NAMESPACES);
    const listen = `127.0.0.1:${await pickPort()}`;
    const flags = ["--listen", listen, "--webhooks", "127.0.0.1:0", "--inject-image", "garrison", "--inject-control-plane", listen];
    const serve = place.start(["serve", "--kubeconfig", await cluster.controlPlaneKubeconfig(), ...flags]);
    await serve.line(/ control plane serves /);
    const [, port = ""] = /listen=127\.0\.0\.1:(\d+)/.exec(await serve.line(/ webhooks served /)) ?? [];
    await cluster.installWebhooks(Number(port), "injection.yaml");
    const annotations = { "garrison.dev/workload-api": "app" };
    const spec = { serviceAccountName: "cart", containers: ["app", "log"].map((name) => ({ name, image: name })) };
    const asked = { apiVersion: "v1", kind: "Pod", metadata: { name: "cart", namespace: "shop", annotations }, spec };
    await until("the webhook is asked", async () => {
      const { status } = await cluster.offer(asked);
      pod = await cluster.read<Pod>("/api/v1/namespaces/shop/pods/cart");
      if (status === 201 && pod.spec.initContainers !== undefined) return true;
      if (status === 201) await cluster.remove(asked);
      return false;
    });
    await cluster.setPodStatus("shop", "cart", { phase: "Running", podIP: "10.244.0.9" });
    await makeVolumes();
    await startAgent();
  });

  test("gives go-spiffe in a container that is named the account's identity, whatever user it runs as", async () => {
    const { exit, stdout, stderr } = await spiffe("app", "mtls", IDENTITY);
    assert.deepEqual([exit, stdout.trim()], [0, '{"said":"hello"}'], stderr);
    const jwt = JSON.parse((await spiffe("app", "jwt", "vault")).stdout) as { readonly id: string };
    assert.equal(jwt.id, IDENTITY);
  });

  test("is to be read there and not written, so that nobody else can play the agent", async () => {
    const folder = containerOf("app").volumeMounts?.[0]?.mountPath ?? "";
    const { stderr, exit } = await inContainer("app", ["rm", `${folder}/agent/socket`]);
    assert.equal(exit, 1);
    assert.match(stderr, /Read-only file system/);
  });

  test("is nowhere in a container that is not named", async () => {
    assert.equal(containerOf("log").volumeMounts, undefined);
    const socket = containerOf("app").env?.find(({ name }) => name === "SPIFFE_ENDPOINT_SOCKET")?.value ?? "";
    const path = socket.replace("unix://", "");
    assert.equal((await inContainer("app", ["test", "-S", path])).exit, 0);
    assert.equal((await inContainer("log", ["test", "-e", path])).exit, 1);
    const { exit } = await inContainer("log", ["env", `SPIFFE_ENDPOINT_SOCKET=${socket}`, join(TOOLS, "spiffe-client"), "jwt", "vault"]);
    assert.notEqual(exit, 0);
  });
});
