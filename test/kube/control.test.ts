/** What a control plane does in a cluster besides reading it, with the rights that `deploy/kubernetes` gives it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "../fakes/processes.ts";
import type { GarrisonProcess } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";

const WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/garrison";

function policy(name: string, spec: unknown, version = "v1") {
  return { apiVersion: `security.istio.io/${version}`, kind: "AuthorizationPolicy", metadata: { name, namespace: "shop" }, spec };
}

function paths(...list: readonly string[]) {
  return [{ to: [{ operation: { paths: list } }] }];
}

const place = new Place({ after });
let cluster: Cluster;
let kubeconfig: string;
let serve: GarrisonProcess;
let port: string;

async function start(listen: string): Promise<GarrisonProcess> {
  const process = place.start(["serve", "--kubeconfig", kubeconfig, "--listen", "127.0.0.1:0", "--webhooks", `127.0.0.1:${listen}`]);
  await process.line(/ control plane serves /);
  return process;
}

before(async () => {
  cluster = await Cluster.start(place);
  await cluster.apply(
    "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n---\napiVersion: v1\nkind: Namespace\nmetadata: { name: istio-system }\n",
  );
  kubeconfig = await cluster.controlPlaneKubeconfig();
  serve = await start("0");
  [, port = ""] = /listen=127\.0\.0\.1:(\d+)/.exec(await serve.line(/ webhooks served /)) ?? [];
  await cluster.installWebhooks(Number(port));
});

interface WebhookConfiguration {
  readonly webhooks: readonly { readonly name: string; readonly clientConfig: { readonly caBundle?: string } }[];
}

async function bundles(): Promise<readonly (string | undefined)[]> {
  return (await cluster.read<WebhookConfiguration>(WEBHOOKS)).webhooks.map(({ clientConfig }) => clientConfig.caBundle);
}

async function untilBundled(): Promise<void> {
  await until("every webhook has the bundle", async () => {
    const [first, ...rest] = await bundles();
    return first !== undefined && first !== "" && rest.every((each) => each === first);
  });
}

describe("the webhooks of a control plane", { timeout: 180_000 }, () => {
  test("are known to the API server by the roots that the control plane writes", async () => {
    await untilBundled();
    await until("it is asked", async () => (await cluster.offer(policy("first", { rules: paths("/a") }))).status === 201);
  });

  test("refuse a mistake in any version, with its code, its field and what to do", async () => {
    for (const version of ["v1", "v1beta1"]) {
      const { status, message } = await cluster.offer(
        policy("wrong", { rules: [{ to: [{ operation: { ports: ["eighty"] } }] }] }, version),
      );
      assert.equal(status, 422, message);
      assert.match(
        message,
        /admission webhook "istio\.validation\.garrison\.dev" denied the request: GAR\d{4}: .*`spec\.rules\[0\]\.to\[0\]\.operation\.ports\[0\]`/,
      );
    }
    const sidecar = {
      apiVersion: "networking.istio.io/v1",
      kind: "Sidecar",
      metadata: { name: "wrong", namespace: "shop" },
      spec: { egres: [] },
    };
    assert.match((await cluster.offer(sidecar)).message, /GAR0003: unknown field `spec\.egres` \(did you mean `egress`\?\)/);
  });

  test("warn of what is accepted all the same", async () => {
    const { status, warnings } = await cluster.offer(policy("empty", { selector: { matchLabels: {} }, rules: paths("/a") }));
    assert.equal(status, 201);
    assert.match(warnings.join(), /GAR0011: /);
  });

  test("look at the mesh's ConfigMap, and at no other", async () => {
    const configMap = (name: string) => ({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name, namespace: "istio-system" },
      data: { mesh: "pathNormalisation: {}\n" },
    });
    assert.match((await cluster.offer(configMap("istio"))).message, /GAR0003: unknown field `pathNormalisation`/);
    assert.equal((await cluster.offer(configMap("other"))).status, 201);
  });

  test("have their bundle put back when somebody changes it", async () => {
    const { webhooks, ...rest } = await cluster.read<WebhookConfiguration & { readonly metadata: { readonly name: string } }>(WEBHOOKS);
    const before = await bundles();
    const without = webhooks.map(({ clientConfig: { caBundle: _, ...clientConfig }, ...webhook }) => ({ ...webhook, clientConfig }));
    await cluster.replace({ ...rest, webhooks: without } as never);
    await until("it is back", async () => (await bundles()).join() === before.join());
  });

  test("that cannot be asked let nothing through", async () => {
    await serve.kill();
    const { status, message } = await cluster.offer(policy("late", { rules: paths("/a") }));
    assert.equal(status, 500, message);
    serve = await start(port);
    await untilBundled();
    await until("it is asked again", async () => (await cluster.offer(policy("late", { rules: paths("/a") }))).status === 201);
  });
});
