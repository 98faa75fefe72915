/** A cluster that joins and leaves by the commands: a control plane elsewhere injects its pods, tells of its policies, and keeps its roots there. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { ClusterStatus } from "../../src/server/cluster/cluster-status.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { garrison, type Result } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster, type Manifest } from "./cluster.ts";
import { clusterNamed, SECRETS } from "./two-clusters.ts";

const IMAGE = "registry.example/garrison:0.1.0";
const MUTATING = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/garrison-remote";
const ROOTS = "/api/v1/namespaces/meshed/configmaps/istio-ca-root-cert";
const BINDING = { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRoleBinding", metadata: { name: "garrison-remote-reader" } };

const place = new Place({ after });
let east: Cluster;
let west: Cluster;
let url: string;

function west2east(command: "join" | "leave", ...flags: readonly string[]): Promise<Result> {
  const kubeconfigs = ["--kubeconfig", west.server.kubeconfig, "--control-plane-kubeconfig", east.server.kubeconfig];
  return garrison(["clusters", command, "--name", "west", ...kubeconfigs, ...flags]);
}

before(async () => {
  [east, west] = await Promise.all([Cluster.start(place), Cluster.bare(place)]);
  await east.apply(`apiVersion: v1\nkind: Namespace\nmetadata: { name: ${SECRETS} }\n`);
  await east.applyTemplate("multi-cluster.yaml", { multiCluster: { enabled: true } });
  west.server.startControllers(["serviceaccount-token-controller"]);
  await west.installSchemas(["authorizationpolicies"]);
  for (const name of ["meshed", "secret"])
    await west.apply(`apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name}, labels: { istio-injection: enabled } }\n`);
  const port = await pickPort();
  url = `https://localhost:${port}`;
  const kubeconfig = await east.controlPlaneKubeconfig();
  const clusters = ["--cluster", "east", "--remote-clusters", SECRETS, "--remote-control-plane", "localhost:15012"];
  const webhooks = ["--webhooks", `127.0.0.1:${port}`, "--inject-image", IMAGE];
  const serve = place.start(["serve", "--kubeconfig", kubeconfig, "--listen", "127.0.0.1:0", ...clusters, ...webhooks]);
  await serve.line(/ control plane serves /);
});

function pod(namespace: string, name: string): Manifest {
  const spec = { serviceAccountName: "cart", containers: [{ name: "app", image: "cart" }] };
  return { apiVersion: "v1", kind: "Pod", metadata: { name, namespace }, spec };
}

interface MadePod {
  readonly spec: { readonly initContainers?: readonly { readonly name: string; readonly args?: readonly string[] }[] };
}

/** Retried until the API server has taken up the webhooks. */
async function injected(name: string): Promise<readonly string[]> {
  let tries = 0;
  let last = "";
  await until(`pods are injected: ${last}`, async () => {
    tries += 1;
    const { status, message } = await west.offer(pod("meshed", `${name}-${tries}`));
    last = `${status} ${message}`;
    if (status !== 201) return false;
    const { spec } = await west.read<MadePod>(`/api/v1/namespaces/meshed/pods/${name}-${tries}`);
    last = JSON.stringify(spec.initContainers ?? []);
    return last !== "[]";
  });
  const { spec } = await west.read<MadePod>(`/api/v1/namespaces/meshed/pods/${name}-${tries}`);
  return spec.initContainers?.find(({ args }) => args?.[0] === "agent")?.args ?? [];
}

async function bundles(): Promise<readonly (string | undefined)[]> {
  type Configuration = { readonly webhooks?: readonly { readonly clientConfig: { readonly caBundle?: string } }[] };
  const { webhooks = [] } = await west.read<Configuration>(MUTATING);
  return webhooks.map(({ clientConfig }) => Buffer.from(clientConfig.caBundle ?? "", "base64").toString());
}

const roots = (): string => readFileSync(place.controlPlane().rootCertificate, "utf8");

async function rootsIn(path: string): Promise<string | undefined> {
  return (await west.read<{ readonly data?: Readonly<Record<string, string>> }>(path)).data?.["root-cert.pem"];
}

async function unkept(): Promise<string> {
  const west = (await clusterNamed(place, "west")) as Exclude<ClusterStatus, { readonly state: "own" }> | undefined;
  return west?.unkept.join() ?? "";
}

describe("a cluster whose control plane is in another one", { timeout: 300_000 }, () => {
  test("joins by one command, which ends when the control plane has taken it in, and twice is the same as once", async () => {
    const { exit, stdout, stderr } = await west2east("join", "--webhooks", url);
    assert.equal(exit, 0, stderr);
    assert.match(stdout, /^Namespace garrison-system created$/m);
    assert.match(stdout, /^MutatingWebhookConfiguration garrison-remote created$/m);
    assert.match(stdout, /^Secret istio-system\/istio-remote-secret-west created in the control plane's cluster$/m);
    assert.match(stdout, /the control plane has taken cluster west in\n$/);
    assert.equal((await clusterNamed(place, "west"))?.state, "connected");
    const again = await west2east("join", "--webhooks", url);
    assert.equal(again.exit, 0, again.stderr);
    assert.doesNotMatch(again.stdout, / created/);
  });

  test("joins for another revision, and for pods that are made all the same, where it is told to", async () => {
    const other = await west2east("join", "--webhooks", url, "--revision", "canary", "--injection-failure", "Ignore");
    assert.equal(other.exit, 0, other.stderr);
    const { webhooks } = await west.read<{ readonly webhooks: readonly { readonly name: string; readonly failurePolicy: string }[] }>(
      MUTATING,
    );
    assert.deepEqual(
      webhooks.map(({ name, failurePolicy }) => `${name.split(".injection")[0]} ${failurePolicy}`),
      ["revision.namespace Ignore", "revision.pod Ignore"],
    );
    const back = await west2east("join", "--webhooks", url);
    assert.equal(back.exit, 0, back.stderr);
    const wrong = await Promise.all([west2east("join", "--revision", "A b"), west2east("join", "--injection-failure", "ignore")]);
    assert.deepEqual(
      wrong.map(({ exit }) => exit),
      [2, 2],
    );
  });

  test("has its pods injected by that control plane, with where it is and whose they are", async () => {
    const args = await injected("cart");
    assert.ok(args.includes("--cluster=west"), args.join(" "));
    assert.ok(args.includes("--control-plane=localhost:15012"), args.join(" "));
  });

  test("is told that a policy has no effect there, and what is wrong with one", async () => {
    const policy = (name: string, spec: unknown): Manifest => ({
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name, namespace: "meshed" },
      spec,
    });
    const kept = await west.offer(policy("fine", { rules: [{}] }));
    assert.equal(kept.status, 201);
    assert.match(kept.warnings.join(), /this AuthorizationPolicy has no effect: policies are not read in cluster `west`/);
    const refused = await west.offer(policy("wrong", { selector: { matchLabels: { "a b": "c" } } }));
    assert.equal(refused.status, 422);
  });

  test("whose webhook somebody names by another cluster, or for a namespace that it does not speak for, makes no such pods", async () => {
    await east.annotate("/api/v1/namespaces/istio-system/secrets/istio-remote-secret-west", {
      "garrison.dev/namespaces": "meshed,garrison-system",
    });
    await until("it is narrowed", async () => JSON.stringify(await clusterNamed(place, "west")).includes('"meshed"'));
    const { status, message } = await west.offer(pod("secret", "a"));
    assert.deepEqual([status, /cluster `west` does not speak for namespace `secret`/.test(message)], [422, true], message);
    await east.annotate("/api/v1/namespaces/istio-system/secrets/istio-remote-secret-west", { "garrison.dev/namespaces": null });
  });

  test("has the roots of a rotation in its namespaces and webhooks as they come, put back where somebody takes them", async () => {
    const before = roots();
    assert.equal((await place.run("ca", "prepare")).exit, 0);
    await until("there are other roots", () => roots() !== before);
    await until("they are in the namespaces", async () => (await rootsIn(ROOTS)) === roots(), 40_000);
    await until("they are in the webhooks", async () => (await bundles()).every((bundle) => bundle === roots()));
    const api = await west.api();
    await api.call("PATCH", MUTATING, [{ op: "remove", path: "/webhooks/0/clientConfig/caBundle" }], "application/json-patch+json");
    await until("they are put back", async () => (await bundles()).every((bundle) => bundle === roots()));
    assert.equal(await unkept(), "");
  });

  test("that takes the right to write away is told of, and what it said last stays in force", async () => {
    const role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/garrison-remote-reader";
    const api = await west.api();
    const { rules } = await west.read<{ readonly rules: readonly { readonly resources: readonly string[] }[] }>(role);
    const without = rules.filter(
      ({ resources }) => !resources.some((resource) => resource === "configmaps" || resource.endsWith("webhookconfigurations")),
    );
    await api.call("PATCH", role, { rules: without }, "application/merge-patch+json");
    await west.remove({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "istio-ca-root-cert", namespace: "meshed" } });
    await until(
      "it is told",
      async () => /the roots of its namespaces .* are not kept up: the API server answers 403/.test(await unkept()),
      40_000,
    );
    assert.match((await place.run("clusters")).stdout, /^west connected .*\n.*\n {2}the roots of its namespaces/m);
    await api.call("PATCH", role, { rules }, "application/merge-patch+json");
    await until("it is well again", async () => (await unkept()) === "" && (await rootsIn(ROOTS)) === roots(), 60_000);
  });

  test("that takes all rights away is away, and its workloads stay", async () => {
    await west.pod("meshed", "steady", { account: "cart", ip: "10.245.0.9" });
    await until("it is a workload", async () => (await place.status()).workloads.some(({ workload }) => workload === "meshed/steady@west"));
    const binding = await west.read<typeof BINDING>(`/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/${BINDING.metadata.name}`);
    await west.remove(BINDING);
    await west.server.restart();
    await until("it is away", async () => (await clusterNamed(place, "west"))?.state === "away", 60_000);
    await until("it is told why", async () => /403|forbidden/i.test((await clusterNamed(place, "west"))?.problem ?? ""), 60_000);
    assert.ok((await place.status()).workloads.some(({ workload }) => workload === "meshed/steady@west"));
    const { resourceVersion: _, uid: _uid, ...metadata } = binding.metadata as Record<string, unknown>;
    await west.create({ ...binding, metadata } as never);
    await until("it is connected", async () => (await clusterNamed(place, "west"))?.state === "connected", 90_000);
  });

  test("is not taken for another whose name comes to the same Secret", async () => {
    for (const command of ["join", "leave"] as const) {
      const { exit, stdout, stderr } = await west2east(command, "--name", "West");
      assert.deepEqual([exit, stdout], [4, ""], stderr);
      assert.match(stderr, /Secret istio-system\/istio-remote-secret-west: the Secret for cluster `West` names cluster `west`\n {2}help: /);
    }
    assert.equal((await clusterNamed(place, "west"))?.state, "connected");
  });

  test("leaves by one command: nothing of ours stays in it but the roots, its workloads are gone, and pods can be made", async () => {
    const { exit, stdout, stderr } = await west2east("leave");
    assert.equal(exit, 0, stderr);
    assert.match(
      stdout,
      /^ValidatingWebhookConfiguration garrison-remote deleted\nMutating|^MutatingWebhookConfiguration garrison-remote deleted\nValidating/,
    );
    assert.match(stdout, /^Secret garrison-system\/garrison-remote-reader-token deleted$/m);
    assert.match(stdout, /cluster west is out of the mesh\n$/);
    await until("it is given up", async () => (await clusterNamed(place, "west")) === undefined);
    await until("its workloads are gone", async () => (await place.status()).workloads.length === 0);
    await until("pods can be made", async () => (await west.offer(pod("meshed", "plain"))).status === 201);
    const again = await west2east("leave");
    assert.deepEqual(
      [again.exit, again.stdout],
      [0, "nothing of ours is in the cluster\nthe control plane's cluster has no Secret of cluster west\n"],
    );
  });

  test("joins also where it speaks for one namespace alone, which roots of an earlier time do not show, and leaves none behind", async () => {
    assert.equal(await rootsIn(ROOTS), roots(), "they were left behind");
    const { exit, stderr } = await west2east("join", "--only-namespace", "meshed");
    assert.equal(exit, 0, stderr);
    assert.partialDeepStrictEqual(await clusterNamed(place, "west"), { state: "connected", namespaces: ["meshed"] });
    assert.equal(await rootsIn(ROOTS), roots());
    assert.equal((await west2east("leave")).exit, 0);
    assert.equal(await rootsIn(ROOTS), undefined);
  });

  test("whose API server is gone leaves all the same, and what is left in it goes when it is back", async () => {
    assert.equal((await west2east("join", "--webhooks", url)).exit, 0);
    await west.server.stop("kube-apiserver");
    const { exit, stdout, stderr } = await west2east("leave");
    assert.deepEqual([exit, stdout], [4, "cluster west is out of the mesh\n"]);
    assert.match(stderr, /^garrison: what `garrison clusters join` made in cluster west is still there: .*cannot be reached/);
    assert.match(stderr, /^ {2}help: .* run this again .*: kubectl delete \S+ -A -l garrison\.dev\/chart=garrison-remote$/m);
    await until("it is given up", async () => (await clusterNamed(place, "west")) === undefined);
    await west.server.startServing();
    const again = await west2east("leave");
    assert.equal(again.exit, 0, again.stderr);
    assert.match(again.stdout, /^MutatingWebhookConfiguration garrison-remote deleted$/m);
    assert.match(again.stdout, /^the control plane's cluster has no Secret of cluster west$/m);
  });

  test("is told what is wrong with what it asks for", async () => {
    const outcomes = await Promise.all([
      west2east("join", "--webhooks", "http://localhost"),
      west2east("join", "--webhooks", "https://localhost/inject"),
      garrison(["serve", "--kubernetes", "--remote-control-plane", "localhost:1"]),
      garrison(["serve", "--kubernetes", "--remote-clusters", "a", "--remote-control-plane", "10.0.0.1:1"]),
    ]);
    assert.deepEqual(
      outcomes.map(({ exit }) => exit),
      [2, 2, 2, 2],
    );
    assert.match(outcomes[3].stderr, /`10\.0\.0\.1` of `--remote-control-plane` is not a DNS name/);
  });
});
