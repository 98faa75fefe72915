/** Node proxies of a real cluster, by the tokens that it binds to their pods: each has the certificates of its own node's workloads, and no others. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { callAdmin } from "../../src/cli/admin-client.ts";
import type { LedgerAnswer } from "../../src/server/ledger.ts";
import { openKubernetesApi } from "../../src/sources/kubernetes/api.ts";
import { TokenReviewer } from "../../src/sources/kubernetes/token-review.ts";
import { parseCertificates, svidIdentity } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { enrol, requestCertificate } from "../feature/caller.ts";
import { garrison } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";

const id = (namespace: string, account: string) => `spiffe://cluster.local/ns/${namespace}/sa/${account}`;
const [CART, MAIL] = [id("shop", "cart"), id("shop", "mail")];

const accounts = [
  ["istio-system", "ztunnel"],
  ["istio-system", "other"],
  ["shop", "cart"],
  ["shop", "mail"],
].map(([namespace, name]) => `apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: ${name}, namespace: ${namespace} }\n`);
const objects = ["shop", "istio-system"].map((name) => `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name} }\n`);
const node = (name: string) => `apiVersion: v1\nkind: Node\nmetadata: { name: ${name} }\n`;

const place = new Place({ after });
let cluster: Cluster;

before(async () => {
  cluster = await Cluster.start(place);
  await cluster.apply([...objects, ...accounts, node("node-a"), node("node-b")].join("---\n"));
  const pods = [
    ["istio-system", "ztunnel-a", "ztunnel", "node-a"],
    ["istio-system", "ztunnel-b", "ztunnel", "node-b"],
    ["istio-system", "other-a", "other", "node-a"],
    ["shop", "cart-1", "cart", "node-a"],
    ["shop", "mail-1", "mail", "node-b"],
  ] as const;
  for (const [index, [namespace, name, account, at]] of pods.entries())
    await cluster.pod(namespace, name, { account, ip: `10.244.0.${index + 7}`, node: at });
  const flags = ["--kubeconfig", await cluster.controlPlaneKubeconfig(), "--trusted-node-account", "istio-system/ztunnel"];
  await place.start(["serve", ...flags, "--listen", "127.0.0.1:0"]).line(/ control plane serves /);
});

const token = (pod: string | undefined, account = "ztunnel") =>
  cluster.token("istio-system", account, { audience: "istio-ca", ...(pod === undefined ? {} : { pod }) });

/** The identity of the certificate, or why there is none. */
async function ask(asked: string, credentials: Parameters<typeof requestCertificate>[2]): Promise<string> {
  const outcome = await requestCertificate(place.controlPlane(), buildCsr(generateKey(), asked), { ...credentials, impersonated: asked });
  if (outcome.code !== "OK") return `${outcome.code} ${outcome.details}`;
  const [leaf] = parseCertificates(outcome.answer[0] ?? "");
  assert.ok(leaf);
  const { namespace, serviceAccount } = svidIdentity(leaf);
  return id(namespace, serviceAccount);
}

const REFUSED = /^UNAUTHENTICATED request impersonation authentication failure: /;

describe("a node proxy", { timeout: 180_000 }, () => {
  test("has the certificates of its node's workloads by a token that is bound to its pod, and of no other node's", async () => {
    const [a, b] = [await token("ztunnel-a"), await token("ztunnel-b")];
    const { pod } = await new TokenReviewer(await openKubernetesApi({ file: cluster.server.kubeconfig })).verify(a, {
      audience: "istio-ca",
    });
    assert.deepEqual([pod?.name, pod?.node], ["ztunnel-a", "node-a"]);
    assert.deepEqual([await ask(CART, { token: a }), await ask(MAIL, { token: b })], [CART, MAIL]);
    for (const [asked, given] of [
      [MAIL, a],
      [CART, b],
    ] as const) {
      const answer = await ask(asked, { token: given });
      assert.match(answer, REFUSED);
      assert.match(answer, /no pod of `spiffe:.*` runs on the caller's node `node-[ab]`/);
    }
  });

  test("gets nothing for others by its certificate, or by a token of no pod; and who is no node proxy gets nothing at all", async () => {
    const own = await token("ztunnel-a");
    const material = await enrol(place.controlPlane(), id("istio-system", "ztunnel"), own);
    assert.match(await ask(CART, { material }), /is not bound to a pod/);
    assert.match(await ask(CART, { token: await token(undefined) }), /is not bound to a pod/);
    assert.match(await ask(CART, { token: await token("other-a", "other") }), /neither a registration authority nor a node proxy/);
    assert.match(await ask(id("istio-system", "garrison"), { token: own }), /^PERMISSION_DENIED .*not given out/);
    assert.match(await ask("spiffe://other.example/ns/shop/sa/cart", { token: own }), REFUSED);
  });

  test("loses the right with the last pod of the account on its node, and its own with its pod", async () => {
    const [a, b] = [await token("ztunnel-a"), await token("ztunnel-b")];
    await cluster.pod("shop", "mail-2", { account: "mail", ip: "10.244.0.20", node: "node-a" });
    await until("the node has the account", async () => (await ask(MAIL, { token: a })) === MAIL);
    await cluster.remove({ apiVersion: "v1", kind: "Pod", metadata: { name: "mail-2", namespace: "shop" } });
    await until("it has it no more", async () => REFUSED.test(await ask(MAIL, { token: a })));
    await cluster.remove({ apiVersion: "v1", kind: "Pod", metadata: { name: "ztunnel-b", namespace: "istio-system" } });
    await until("its token is worth nothing", async () => /^UNAUTHENTICATED /.test(await ask(MAIL, { token: b })));
  });

  test("is in the ledger with what it got and what it was refused", async () => {
    const { certificates, refusals } = (await callAdmin(place.controlPlane().adminSocket, "GET", "/v1/ca/list")) as LedgerAnswer;
    const ztunnel = id("istio-system", "ztunnel");
    assert.ok(
      certificates.some(({ identity, caller, state }) => identity === CART && caller === `token of ${ztunnel}` && state === "issued"),
    );
    assert.ok(
      refusals.some(({ identity, reason }) => identity === ztunnel && reason.includes(`no pod of \`${MAIL}\` runs on the caller's node`)),
    );
  });

  test("is for Kubernetes alone: elsewhere nobody says where a workload runs", async () => {
    const { exit, stderr } = await garrison(["serve", "--config", place.config, "--trusted-node-account", "istio-system/ztunnel"]);
    assert.deepEqual([exit, /`--trusted-node-account` is for a control plane on Kubernetes/.test(stderr)], [2, true]);
  });
});
