/** A control plane whose configuration is a cluster: with the rights that the chart gives it, and no more. */
import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { enrol, requestCertificate } from "../feature/caller.ts";
import type { GarrisonProcess } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith } from "./objects.ts";

const PAYROLL = "spiffe://cluster.local/ns/shop/sa/payroll";
const AUDIENCE = "istio-ca";
const NO_POLICY = /ALLOW by no-policy/;
const BY_READERS = /ALLOW by shop\/readers\[0\]/;

const SHOP = `${namespaceWith("shop", ["payroll", "gone"])}---
apiVersion: v1
kind: Service
metadata: { name: payroll, namespace: shop }
spec:
  selector: { app: payroll }
  ports:
    - { name: http-web, port: 80, targetPort: web }
    - { name: dns, port: 53, protocol: UDP }
`;

function allow(path: string) {
  return {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: "readers", namespace: "shop" },
    spec: { selector: { matchLabels: { app: "payroll" } }, action: "ALLOW", rules: [{ to: [{ operation: { paths: [path] } }] }] },
  };
}

function meshConfig(normalization: string) {
  const mesh = `# written by an installer\naccessLogFile: /dev/stdout\npathNormalization:\n  normalization: ${normalization}\n`;
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "istio", namespace: "istio-system" }, data: { mesh } };
}

const place = new Place({ after });
let cluster: Cluster;
let serve: GarrisonProcess;

before(async () => {
  cluster = await Cluster.start(place);
  await cluster.apply(SHOP);
  await cluster.pod("shop", "payroll-1", { account: "payroll", ip: "10.244.0.7", labels: { app: "payroll" } });
  const kubeconfig = await cluster.controlPlaneKubeconfig();
  serve = place.start(["serve", "--kubeconfig", kubeconfig, "--listen", "127.0.0.1:0"]);
  await serve.line(/ control plane serves /);
});

/** What the control plane says of a GET request to the pod, from another workload. */
async function explain(path: string): Promise<string> {
  const question = ["shop/payroll-1", "--from", PAYROLL, "--port", "8080", "--method", "GET", "--path", path];
  const { stdout, stderr } = await place.run("authz", "explain", ...question);
  return stdout + stderr;
}

/** Asks until the answer is as wanted. */
async function untilExplained(path: string, wanted: RegExp): Promise<void> {
  const end = Date.now() + 20_000;
  for (;;) {
    const answer = await explain(path);
    if (wanted.test(answer)) return;
    if (Date.now() > end) assert.match(answer, wanted);
  }
}

/** The policy for this path, gone at the end of the test in any case. */
async function policyFor(t: TestContext, path: string): Promise<void> {
  t.after(() => cluster.remove(allow(path)).catch(() => undefined));
  await cluster.create(allow(path));
}

function request(token: string) {
  return requestCertificate(place.controlPlane(), buildCsr(generateKey(), PAYROLL), { token });
}

describe("a control plane on Kubernetes", { timeout: 180_000 }, () => {
  test("takes pods for workloads, and ports by the names that containers give them", async () => {
    const status = await place.untilStatus("the pod is a workload", ({ workloads }) => workloads.length === 1);
    assert.equal(status.workloads[0]?.workload, "shop/payroll-1");
    await untilExplained("/a", NO_POLICY);
  });

  test("puts a policy of the API server in force, its edit, and its removal", async (t) => {
    await policyFor(t, "/open");
    await untilExplained("/a", /DENY by default/);
    await untilExplained("/open", BY_READERS);
    await cluster.replaceSpec(allow("/a"));
    await untilExplained("/a", BY_READERS);
    await cluster.remove(allow("/a"));
    await untilExplained("/b", NO_POLICY);
  });

  test("puts the mesh's configuration in force, its edit, and its removal", async (t) => {
    await policyFor(t, "/open");
    await untilExplained("//open", /DENY by default/);
    await cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: istio-system }\n");
    await cluster.create(meshConfig("MERGE_SLASHES"));
    t.after(() => cluster.remove(meshConfig("BASE")).catch(() => undefined));
    await untilExplained("//open", BY_READERS);
    await cluster.remove(meshConfig("BASE"));
    await untilExplained("//open", /DENY by default/);
  });

  test("keeps the last valid form of an object that was written past every check, and says what is wrong with it", async (t) => {
    await policyFor(t, "/open");
    await untilExplained("/open", BY_READERS);
    const broken = { ...allow("/open"), spec: { ...allow("/open").spec, rules: [{ to: [{ operation: { ports: ["eighty"] } }] }] } };
    await cluster.replaceSpec(broken);
    await serve.line(/AuthorizationPolicy shop\/readers: error GAR\d+: .*ports/);
    await untilExplained("/open", BY_READERS);
    await cluster.remove(broken);
    await untilExplained("/b", NO_POLICY);
  });

  test("gives a certificate for a pod's token, with the account's identity", async () => {
    const { chain } = await enrol(
      place.controlPlane(),
      PAYROLL,
      await cluster.token("shop", "payroll", { audience: AUDIENCE, pod: "payroll-1" }),
    );
    assert.deepEqual(parseCertificates(chain)[0]?.names, [{ kind: "uri", value: PAYROLL }]);
  });

  test("refuses a token for another audience, and one that the API server did not issue", async () => {
    assert.equal((await request(await cluster.token("shop", "payroll"))).code, "UNAUTHENTICATED");
    const token = await cluster.token("shop", "payroll", { audience: AUDIENCE });
    assert.equal((await request(`${token.slice(0, -8)}AAAAAAAA`)).code, "UNAUTHENTICATED");
    const own = await place.run("token", "shop/payroll-1");
    assert.equal((await request(own.stdout.trim())).code, "UNAUTHENTICATED");
  });

  test("refuses the token of a pod that was deleted, though it has not expired", async () => {
    await cluster.pod("shop", "payroll-2", { account: "payroll", ip: "10.244.0.8" });
    const token = await cluster.token("shop", "payroll", { audience: AUDIENCE, pod: "payroll-2" });
    assert.equal((await request(token)).code, "OK");
    await cluster.remove({ apiVersion: "v1", kind: "Pod", metadata: { name: "payroll-2", namespace: "shop" } });
    const end = Date.now() + 20_000;
    let { code } = await request(token);
    // The API server's authenticator remembers a verdict for some seconds.
    while (code === "OK" && Date.now() < end) ({ code } = await request(token));
    assert.equal(code, "UNAUTHENTICATED");
  });

  test("keeps what it saw last in force while the API server is away, and then takes up what happened meanwhile", async (t) => {
    await policyFor(t, "/open");
    await untilExplained("/open", BY_READERS);
    const token = await cluster.token("shop", "payroll", { audience: AUDIENCE, pod: "payroll-1" });
    const material = await enrol(place.controlPlane(), PAYROLL, token);
    await cluster.server.stop("kube-apiserver");
    await serve.line(/the last ones seen stay in force .*kind=AuthorizationPolicy/);
    await untilExplained("/open", BY_READERS);
    const renewed = await requestCertificate(place.controlPlane(), buildCsr(generateKey(), PAYROLL), { material });
    assert.equal(renewed.code, "OK");
    assert.equal((await request(token)).code, "UNAVAILABLE", "an outage refuses nobody");
    await cluster.server.startServing();
    assert.equal((await request(token)).code, "OK");
    assert.equal((await request("any")).code, "UNAUTHENTICATED");
    await cluster.remove(allow("/open"));
    await cluster.pod("shop", "payroll-3", { account: "payroll", ip: "10.244.0.9" });
    await untilExplained("/b", NO_POLICY);
    await place.untilStatus("the new pod is a workload", ({ workloads }) =>
      workloads.some(({ workload }) => workload === "shop/payroll-3"),
    );
  });
});
