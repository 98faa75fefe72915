/** What a control plane does in a cluster besides reading it, with the rights that the chart gives it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { get } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { askAsReplica, enrol, report, requestCertificate } from "../feature/caller.ts";
import type { GarrisonProcess } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { MetricsReader } from "../feature/read-metrics.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith } from "./objects.ts";
import { connectProxy } from "./proxy.ts";

const WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/garrison";

function policy(name: string, spec: unknown, version = "v1") {
  return { apiVersion: `security.istio.io/${version}`, kind: "AuthorizationPolicy", metadata: { name, namespace: "shop" }, spec };
}

function paths(...list: readonly string[]) {
  return [{ to: [{ operation: { paths: list } }] }];
}

const SHOP = namespaceWith("shop", ["pay"]) + namespaceWith("istio-system");

const PAY = "spiffe://cluster.local/ns/shop/sa/pay";
const place = new Place({ after });
const second = new Place({ after });
let cluster: Cluster;
let kubeconfig: string;
let serve: GarrisonProcess;
let port: string;

/** Where each replica serves the trust domain's bundle. */
const bundlePorts = new Map<Place, number>();

/** The bundle of a replica's endpoint: its number, and how many keys it has. */
function bundleOf(at: Place): Promise<{ readonly sequence: number; readonly keys: number }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ readonly sequence: number; readonly keys: number }>();
  const sent = get({ host: "127.0.0.1", port: bundlePorts.get(at), rejectUnauthorized: false, agent: false }, async (response) => {
    const { keys, spiffe_sequence: sequence } = JSON.parse(await text(response)) as { keys: readonly unknown[]; spiffe_sequence: number };
    resolve({ sequence, keys: keys.length });
  });
  sent.on("error", reject);
  return promise;
}

/** A replica with a state of its own; what they share is in the cluster. */
async function start(at: Place, webhooks: string): Promise<GarrisonProcess> {
  const shared = ["--kubeconfig", kubeconfig, "--ca-secret", "garrison-ca/garrison-ca"];
  const bundle = bundlePorts.get(at) ?? (await pickPort());
  bundlePorts.set(at, bundle);
  const listen = ["--listen", "127.0.0.1:0", "--webhooks", `127.0.0.1:${webhooks}`, "--bundle-endpoint", `127.0.0.1:${bundle}`];
  const process = at.start(["serve", ...shared, ...listen, "--metrics-listen", "127.0.0.1:0"]);
  await process.line(/ control plane serves /);
  return process;
}

before(async () => {
  cluster = await Cluster.start(place);
  await cluster.apply(SHOP);
  for (const [name, ip] of [
    ["pay-1", "10.244.0.7"],
    ["pay-2", "10.244.0.8"],
  ] as const)
    await cluster.pod("shop", name, { account: "pay", ip, labels: { app: "pay" } });
  // Before there is a webhook: so it gets past every check.
  await cluster.create(policy("broken", { rules: [{ to: [{ operation: { ports: ["eighty"] } }] }] }));
  kubeconfig = await cluster.controlPlaneKubeconfig();
  serve = await start(place, "0");
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

describe("the webhooks of a control plane", { timeout: 300_000 }, () => {
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

  test("are counted by their verdicts", async () => {
    const metrics = await MetricsReader.of(serve);
    for (const verdict of ["allowed", "refused"])
      assert.ok((await metrics.value(`garrison_webhook_reviews_total{webhook="validate",verdict="${verdict}"}`)) > 0, verdict);
    assert.equal(await metrics.value('garrison_webhook_reviews_total{webhook="validate",verdict="failed"}'), 0);
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
    await serve.stop();
    const { status, message } = await cluster.offer(policy("late", { rules: paths("/a") }));
    assert.equal(status, 500, message);
    serve = await start(place, port);
    await untilBundled();
    await until("it is asked again", async () => (await cluster.offer(policy("late", { rules: paths("/a") }))).status === 201);
  });
});

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly message: string;
}

interface Kept {
  readonly metadata: { readonly resourceVersion: string; readonly generation: number };
  readonly status?: { readonly conditions?: readonly Condition[]; readonly observedGeneration?: number };
}

function read(name: string): Promise<Kept> {
  return cluster.read(`/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/${name}`);
}

/** `Accepted True: …`, for each condition. */
async function conditions(name: string): Promise<string> {
  const { status } = await read(name);
  return (status?.conditions ?? []).map(({ type, status: state, message }) => `${type} ${state}: ${message}`).join("\n");
}

const untilSaid = (name: string, wanted: RegExp) => until(`${name}: ${wanted}`, async () => wanted.test(await conditions(name)), 90_000);

function credentials(at: Place) {
  return cluster.token("shop", "pay", { audience: "istio-ca", pod: "pay-1" }).then((token) => enrol(at.controlPlane(), PAY, token));
}

function rootMap(namespace: string): Promise<{ readonly data?: Readonly<Record<string, string>> }> {
  return cluster.read(`/api/v1/namespaces/${namespace}/configmaps/istio-ca-root-cert`);
}

describe("the status of an object", { timeout: 300_000 }, () => {
  test("says whether it is accepted and why not, and where a policy is in force", async (t) => {
    await untilSaid("broken", /^Accepted False: GAR\d{4}: .*ports.*; it is closed: /);
    await cluster.create(policy("readers", { selector: { matchLabels: { app: "pay" } }, action: "AUDIT", rules: paths("/a") }));
    await untilSaid("readers", /^Accepted True: .*\nEnforced Unknown: selects 2 workloads; enforced on 0 of 0 connected proxies$/);
    connectProxy(t, place.controlPlane(), "shop/pay-1", await credentials(place));
    await untilSaid("readers", /\nEnforced True: selects 2 workloads; enforced on 1 of 1 connected proxy$/);
    const { metadata, status } = await read("readers");
    assert.equal(status?.observedGeneration, metadata.generation);
  });

  test("is not written again where it says the same, and follows an edit", async () => {
    await untilSaid("readers", /enforced on 0 of 0/);
    const before = (await read("broken")).metadata.resourceVersion;
    await cluster.replaceSpec(policy("readers", { selector: { matchLabels: { app: "nobody" } }, rules: paths("/a") }));
    await untilSaid("readers", /selects 0 workloads/);
    const { metadata, status } = await read("readers");
    assert.equal(status?.observedGeneration, metadata.generation);
    assert.equal((await read("broken")).metadata.resourceVersion, before);
  });
});

describe("the roots of the mesh", { timeout: 300_000 }, () => {
  test("are in every namespace, and are put back when they are changed or removed", async () => {
    const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "istio-ca-root-cert", namespace: "shop" } };
    const isBack = async () =>
      (await rootMap("shop")).data?.["root-cert.pem"] === readFileSync(place.controlPlane().rootCertificate, "utf8");
    await until("it is there", isBack);
    await cluster.replace({ ...object, data: { "root-cert.pem": "" } } as never);
    await until("it is put back", isBack);
    await cluster.remove(object);
    await until("it is made again", isBack);
    await cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: late }\n");
    await until("a new namespace has it", async () => (await rootMap("late")).data?.["root-cert.pem"] !== undefined);
  });
});

describe("two replicas", { timeout: 300_000 }, () => {
  let otherLeads: () => Promise<number>;

  test("number their bundle together: what a new one serves has the number that the other gave it, and both go on from there", async () => {
    const { keys } = await bundleOf(place);
    assert.equal((await place.run("ca", "prepare", "--jwt")).exit, 0);
    await until("the first has another bundle", async () => (await bundleOf(place)).keys === keys + 1);
    const before = await bundleOf(place);
    assert.ok(before.sequence > 1);
    const started = await start(second, "0");
    const leads = async (process: GarrisonProcess) => (await MetricsReader.of(process)).value("garrison_leads");
    assert.deepEqual([await leads(serve), await leads(started)], [1, 0]);
    otherLeads = () => leads(started);
    assert.deepEqual(await bundleOf(second), before);
    for (const step of [["activate", "--force"], ["revoke"]]) assert.equal((await second.run("ca", ...step, "--jwt")).exit, 0);
    await until("both have the next", async () => {
      const [one, other] = [await bundleOf(place), await bundleOf(second)];
      return one.sequence > before.sequence && one.sequence === other.sequence && one.keys === keys && other.keys === keys;
    });
  });

  test("share the CA: a certificate of the one is good at the other, whose proxies count too", async (t) => {
    const material = await credentials(place);
    const renewed = await requestCertificate(second.controlPlane(), buildCsr(generateKey(), PAY), { material });
    assert.equal(renewed.code, "OK");
    await cluster.create(policy("both", { selector: { matchLabels: { app: "pay" } }, action: "AUDIT", rules: paths("/a") }));
    connectProxy(t, place.controlPlane(), "shop/pay-1", material);
    connectProxy(t, second.controlPlane(), "shop/pay-2", await credentials(second));
    await untilSaid("both", /enforced on 2 of 2 connected proxies/);
  });

  test("share what is revoked and set free, and the keys of JWT-SVIDs", async () => {
    const key = (at: Place) => JSON.parse(readFileSync(join(at.state, "jwt-svid-keys.json"), "utf8")) as unknown;
    assert.deepEqual(key(second), key(place));
    const ask = async () => (await requestCertificate(second.controlPlane(), buildCsr(generateKey(), PAY), { token })).code;
    const token = await cluster.token("shop", "pay", { audience: "istio-ca", pod: "pay-1" });
    assert.equal(await ask(), "OK");
    const revoked = await place.run("ca", "revoke", "--identity", "shop/pay");
    assert.equal(revoked.exit, 0, revoked.stderr);
    await until("the other knows", async () => (await ask()) === "PERMISSION_DENIED");
    assert.equal((await second.run("ca", "unblock", "shop/pay")).exit, 0);
    const first = async () => (await requestCertificate(place.controlPlane(), buildCsr(generateKey(), PAY), { token })).code;
    await until("the first knows", async () => (await first()) === "OK");
  });

  test("know together who comes in plaintext, and whose proxies are connected", async (t) => {
    const material = await credentials(place);
    connectProxy(t, place.controlPlane(), "shop/pay-1", material);
    connectProxy(t, second.controlPlane(), "shop/pay-2", await credentials(second));
    const call = { protocol: "tcp", service: "shop/pay-2", sourceIp: "203.0.113.9", port: 8080, effect: "allow", origin: "no-policy" };
    const told = await report(second.controlPlane(), "shop/pay-2", [{ ...call, timeMs: BigInt(Date.now()) }], await credentials(second));
    assert.deepEqual(told, { code: "OK", answer: 1 });
    const status = async () => (await place.run("mtls", "status")).stdout;
    await until("the first knows of both proxies", async () => !(await status()).includes("no proxy connected"));
    assert.match(await status(), /^ {4}without identity: 203\.0\.113\.9 to port 8080, 1 call, /m);
    assert.doesNotMatch(await status(), /could not be asked/);
  });

  test("tell each other alone what they saw", async () => {
    const workload = await credentials(place);
    for (const method of ["mtlsEvidence", "certificates", "ledger", "decisions"] as const) {
      assert.equal((await askAsReplica(second.controlPlane(), method, workload)).code, "PERMISSION_DENIED", method);
      assert.equal((await askAsReplica(second.controlPlane(), method)).code, "UNAUTHENTICATED", method);
    }
  });

  test("one that cannot be asked is told, and then nothing counts as proven", async () => {
    const lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease" };
    const metadata = { name: "garrison-replica-mute", namespace: "garrison-system", labels: { "garrison.dev/replica": "true" } };
    await cluster.create({ ...lease, metadata });
    await until("it is told", async () => /could not be asked.*garrison-replica-mute/.test((await place.run("mtls", "plan")).stdout));
    await cluster.remove({ ...lease, metadata });
  });

  test("the one that is left goes on when the other is killed, and does what only one may", async (t) => {
    const material = await credentials(place);
    await serve.kill();
    connectProxy(t, second.controlPlane(), "shop/pay-1", material);
    await second.untilStatus("the proxy runs its policy", ({ workloads }) =>
      workloads.some(({ workload, proxies }) => workload === "shop/pay-1" && proxies.some(({ state }) => state === "acked")),
    );
    assert.equal((await requestCertificate(second.controlPlane(), buildCsr(generateKey(), PAY), { material })).code, "OK");
    await untilSaid("both", /enforced on 1 of 1 connected proxy/);
    await until("it holds the Lease", async () => (await otherLeads()) === 1);
  });
});
