/** An installation in a real API server, from nothing to nothing: what is applied, what it may do, and what stays of it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { MERGE_PATCH, openKubernetesApi } from "../../src/sources/kubernetes/api.ts";
import { until } from "../fakes/processes.ts";
import { GarrisonProcess, garrison, type Result } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { DEPLOYMENT, type Deployment, startInstalled } from "./installed.ts";

const LARGE = join(import.meta.dirname, "..", "fixture", "values", "large.yaml");
const SMALL = join(import.meta.dirname, "..", "fixture", "values", "small.yaml");
const ISTIOS = "virtualservices.networking.istio.io";
const WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/garrison";

const place = new Place({ after });
let cluster: Cluster;

function run(command: string, ...flags: readonly string[]): Promise<Result> {
  return garrison([command, "--kubeconfig", cluster.server.kubeconfig, ...flags]);
}

/** What the controller of Deployments would write: there is none here, and no node. */
async function reportAvailable(count: number): Promise<void> {
  const { metadata, spec } = await cluster.read<Deployment>(DEPLOYMENT);
  const status = { observedGeneration: metadata.generation, replicas: spec.replicas, updatedReplicas: spec.replicas, readyReplicas: count };
  const api = await openKubernetesApi({ file: cluster.server.kubeconfig });
  const body = { status: { ...status, availableReplicas: count } };
  const answer = await api.call("PATCH", `${DEPLOYMENT}/status`, body, MERGE_PATCH);
  assert.equal(answer.status, 200);
}

async function isThere(path: string): Promise<boolean> {
  return (await cluster.read<{ readonly kind: string }>(path)).kind !== "Status";
}

/** What the checks say of a pod without its proxy, of a policy past every webhook, and of roots that somebody changed. */
async function checkBroken(): Promise<void> {
  assert.deepEqual((await signs("--proxy")).signs, "√‼√");
  const labels = { "security.istio.io/tlsMode": "istio" };
  await cluster.create({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "pay", namespace: "default" } });
  await cluster.pod("default", "pay-1", { account: "pay", ip: "10.244.0.9", labels });
  const { exit, stdout, signs: found } = await signs("--proxy");
  assert.deepEqual([exit, found], [1, "√×√"]);
  assert.match(stdout, /^× every injected pod .*\n {4}default\/pay-1$/m);
}

before(async () => {
  cluster = await Cluster.bare(place);
  // As Istio would have it: not ours.
  await cluster.installSchemas(["virtualservices"], { labels: {} });
});

/** The lines with their signs; details and hints are left out. */
async function signs(
  ...flags: readonly string[]
): Promise<{ readonly exit: Result["exit"]; readonly signs: string; readonly stdout: string }> {
  const { exit, stdout, stderr } = await run("check", ...flags);
  assert.equal(stderr, "");
  return { exit, stdout, signs: stdout.match(/^[√‼×]/gm)?.join("") ?? "" };
}

describe("garrison install", { timeout: 300_000 }, () => {
  test("applies nothing in a dry run, and says what it would", async () => {
    const { exit, stdout, stderr } = await run("install", "--dry-run", "server");
    assert.equal(exit, 0, stderr);
    assert.match(stdout, /^Namespace garrison-system created \(dry run\)$/m);
    assert.match(stdout, /^Deployment garrison-system\/garrison created \(dry run\)$/m);
    assert.equal(await isThere("/api/v1/namespaces/garrison-system"), false);
  });

  test("is checked for before: schemas of others are told of, and missing rights", async () => {
    const before = await signs("--pre");
    assert.deepEqual([before.exit, before.signs], [0, "√√√‼"]);
    assert.match(
      before.stdout,
      /‼ the schemas .*\n {4}1 are somebody else's, such as virtualservices\.networking\.istio\.io\n {4}hint: .*\n {4}see docs\/tasks\/kubernetes-install\.md#schemas\n/,
    );
    await cluster.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: stranger, namespace: default }\n");
    const kubeconfig = cluster.server.writeKubeconfig("stranger", { token: await cluster.token("default", "stranger") });
    const refused = await garrison(["check", "--pre", "--kubeconfig", kubeconfig]);
    assert.equal(refused.exit, 1);
    assert.match(
      refused.stdout,
      /^× you may install .*\n {4}you may not get customresourcedefinitions, create customresourcedefinitions, .* and \d+ more$/m,
    );
  });

  test("is refused in words to whoever has not the rights", async () => {
    await cluster.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: nobody, namespace: default }\n");
    const kubeconfig = cluster.server.writeKubeconfig("nobody", { token: await cluster.token("default", "nobody") });
    const { exit, stderr } = await garrison(["install", "--kubeconfig", kubeconfig]);
    assert.equal(exit, 4);
    assert.match(stderr, /CustomResourceDefinition .*: .*"system:serviceaccount:default:nobody" cannot .*\n {2}help: .*administrator/);
  });

  test("has every object accepted, keeps the schemas that are there, and says what it waits for until its time is over", async () => {
    const { exit, stdout, stderr } = await run("install", "--timeout", "12");
    assert.match(stdout, new RegExp(`^CustomResourceDefinition ${ISTIOS} kept: it is not ours`, "m"));
    for (const created of ["ClusterRole garrison-control-plane", "Deployment garrison-system/garrison", "Namespace istio-system"])
      assert.match(stdout, new RegExp(`^${created} created$`, "m"));
    assert.equal(exit, 4);
    assert.match(
      stderr,
      /the time is over before the control plane is ready: no controller has taken up Deployment garrison-system\/garrison/,
    );
  });

  test("is checked for after: what is not ready yet is wrong", async () => {
    const { exit, signs: found, stdout } = await signs("--kubernetes");
    assert.deepEqual([exit, found], [1, "√√×××√√"]);
    assert.match(stdout, /^× all control planes are ready\n {4}no controller has taken up Deployment garrison-system\/garrison yet$/m);
    assert.match(
      stdout,
      /^× the API server knows .*\n {4}no root is in istio\.validation\.garrison\.dev, mesh\.validation\.garrison\.dev, /m,
    );
    assert.match(stdout, /^× every namespace has the same roots .*\n {4}others, or none, are in default, garrison-ca, /m);
  });

  test("twice is the same as once", async () => {
    const { exit, stdout, stderr } = await run("install", "--no-wait");
    assert.equal(exit, 0, stderr);
    assert.deepEqual(stdout.match(/ (?:created|configured)$/gm), null);
    assert.match(stdout, /^Deployment garrison-system\/garrison unchanged$/m);
  });

  test("gives the control plane the rights that it needs, and is ready when that serves", async () => {
    const serve = await startInstalled(place, cluster);
    await serve.line(/ control plane serves /);
    await reportAvailable(1);
    const waiting = new GarrisonProcess(place, ["install", "--kubeconfig", cluster.server.kubeconfig, "--timeout", "120"]);
    await waiting.line(/waiting for the control plane/);
    await until("the webhooks have their bundle", async () => {
      const { webhooks } = await cluster.read<{ readonly webhooks: readonly { readonly clientConfig: { readonly caBundle?: string } }[] }>(
        WEBHOOKS,
      );
      return webhooks.every(({ clientConfig }) => clientConfig.caBundle !== undefined);
    });
    assert.equal(waiting.running, true);
    await reportAvailable(2);
    assert.equal(await waiting.ended, 0, waiting.output);
    await until("the roots are in a namespace", () => isThere("/api/v1/namespaces/default/configmaps/istio-ca-root-cert"));
    await until("a replica holds the Lease", () => isThere("/apis/coordination.k8s.io/v1/namespaces/garrison-system/leases/garrison"));
    assert.equal(await isThere("/api/v1/namespaces/garrison-ca/secrets/garrison-ca"), true);
    let last = "";
    await until("all is well", async () => {
      const found = await signs("--kubernetes");
      last = found.stdout;
      return found.signs === "√√√√√√√";
    }).catch(() => assert.fail(last));
    await checkBroken();
    assert.doesNotMatch(serve.output, /forbidden|permission-denied|answers? 403\b/i);
    await serve.stop();
  });

  test("turns Citadel mode on for the namespaces that its values name, with rights to these and no more", async () => {
    await cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n");
    await cluster.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: till, namespace: shop }\n");
    place.write("citadel-values.yaml", "citadel: { namespaces: [shop] }\n");
    const { exit, stdout, stderr } = await run("install", "--no-wait", "--values", join(place.config, "citadel-values.yaml"));
    assert.equal(exit, 0, stderr);
    const order = stdout.match(/^\S+ (?:shop\/)?garrison-citadel created$/gm) ?? [];
    assert.deepEqual(
      order.map((line) => line.split(" ")[0]),
      ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ClusterRole", "RoleBinding"],
    );
    const serve = await startInstalled(place, cluster);
    await until("the account's Secret is written", () => isThere("/api/v1/namespaces/shop/secrets/istio.till"));
    assert.doesNotMatch(serve.output, /forbidden|permission-denied|answers? 403\b/i);
    await serve.stop();
    const own = await openKubernetesApi({ file: await cluster.controlPlaneKubeconfig() });
    assert.equal((await own.call("GET", "/api/v1/namespaces/default/secrets")).status, 403);
    const opaque = { apiVersion: "v1", kind: "Secret", metadata: { name: "other", namespace: "shop" } };
    assert.match(
      JSON.stringify((await own.call("POST", "/api/v1/namespaces/shop/secrets", opaque)).body),
      /may write only Secrets of type/,
    );
  });

  test("leaves the bundle that the control plane wrote, with what else is changed", async () => {
    const bundles = async () =>
      (
        await cluster.read<{ readonly webhooks: readonly { readonly clientConfig: { readonly caBundle?: string } }[] }>(WEBHOOKS)
      ).webhooks.map(({ clientConfig }) => clientConfig.caBundle);
    const before = await bundles();
    const { exit, stdout, stderr } = await run("install", "--no-wait", "--values", LARGE);
    assert.equal(exit, 0, stderr);
    assert.match(stdout, /^Deployment garrison-system\/garrison configured$/m);
    assert.match(stdout, /^HorizontalPodAutoscaler garrison-system\/garrison created$/m);
    assert.match(stdout, /^RoleBinding default\/garrison-citadel created$/m);
    assert.match(stdout, /^RoleBinding shop\/garrison-citadel deleted$/m);
    assert.deepEqual(await bundles(), before);
  });

  test("takes no field that somebody else manages unless it is told to, and removes what it has no more", async () => {
    const api = await openKubernetesApi({ file: cluster.server.kubeconfig });
    await api.call("PATCH", `${DEPLOYMENT}?fieldManager=somebody`, { spec: { strategy: { rollingUpdate: { maxSurge: 3 } } } }, MERGE_PATCH);
    const refused = await run("install", "--no-wait", "--values", SMALL);
    assert.equal(refused.exit, 4);
    assert.match(refused.stderr, /Deployment garrison-system\/garrison: .*"somebody".*maxSurge[\s\S]*--force-conflicts/);
    const forced = await run("install", "--no-wait", "--values", SMALL, "--force-conflicts");
    assert.equal(forced.exit, 0, forced.stderr);
    // What it had with the values before, and has no more.
    for (const gone of [
      "HorizontalPodAutoscaler garrison-system/garrison",
      "Role mesh-ca/garrison-ca",
      "ConfigMap mesh-root/istio",
      "ClusterRole garrison-citadel",
    ])
      assert.match(forced.stdout, new RegExp(`^${gone} deleted$`, "m"));
    assert.doesNotMatch(forced.stdout, /^Namespace .* deleted$/m);
  });
});

describe("garrison uninstall", { timeout: 300_000 }, () => {
  test("removes what was installed, whatever values it had, and keeps the CA, the mesh's namespace and all schemas", async () => {
    const { exit, stdout, stderr } = await run("uninstall");
    assert.equal(exit, 0, stderr);
    for (const gone of [DEPLOYMENT, WEBHOOKS, "/apis/rbac.authorization.k8s.io/v1/clusterroles/garrison-control-plane"])
      assert.equal(await isThere(gone), false, gone);
    assert.match(stdout, /^Role garrison-ca\/garrison-ca deleted$/m);
    assert.match(stdout, /^Namespace garrison-ca kept: /m);
    assert.equal(await isThere("/api/v1/namespaces/garrison-ca/secrets/garrison-ca"), true);
    assert.match(stdout, /^CustomResourceDefinition peerauthentications\.security\.istio\.io kept: with --crds /m);
  });

  test("removes our schemas when it is told to, and never Istio's", async () => {
    const { exit, stdout, stderr } = await run("uninstall", "--crds");
    assert.equal(exit, 0, stderr);
    assert.match(stdout, /^CustomResourceDefinition peerauthentications\.security\.istio\.io deleted$/m);
    assert.equal(await isThere(`/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${ISTIOS}`), true);
  });

  test("leaves to Helm what Helm installed", async () => {
    await cluster.apply(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: garrison-control-plane
  labels: { garrison.dev/chart: garrison }
  annotations: { meta.helm.sh/release-name: mesh, meta.helm.sh/release-namespace: default }
rules: []
`);
    for (const [command, ...flags] of [["uninstall"], ["install", "--namespace", "second"]]) {
      const { exit, stderr } = await run(command ?? "", ...flags);
      assert.equal(exit, 4);
      assert.match(stderr, /ClusterRole garrison-control-plane: Helm installed it[\s\S]*helm uninstall mesh/);
    }
  });
});
