/** An operator's own CA in the Secret that replicas share, and its root replaced step by step: whatever trusts it follows. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { verifyChain } from "../../src/x509/chain.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { enrol, requestCertificate } from "../feature/caller.ts";
import type { GarrisonProcess } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { OpensslCa } from "../fixture/openssl-ca.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith } from "./objects.ts";

const PAY = "spiffe://cluster.local/ns/shop/sa/pay";
const OBJECTS = namespaceWith("shop", ["pay"]);

const place = new Place({ after });
const ca = new OpensslCa(join(place.folder, "operator"));
let cluster: Cluster;
let serve: GarrisonProcess;

/** Istio's files of the CA `signer` under `roots`, as a Secret's data. */
function secret(signer: string, roots: readonly string[]) {
  const folder = join(place.folder, "plugged");
  ca.plug(folder, signer, roots);
  const data = Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name)).toString("base64")]));
  return { apiVersion: "v1", kind: "Secret", type: "Opaque", metadata: { name: "garrison-ca", namespace: "garrison-ca" }, data };
}

const rootsOf = (...names: readonly string[]): string => names.map((name) => ca.text(`${name}.pem`)).join("");

async function rootMap(): Promise<string | undefined> {
  const { data } = await cluster.read<{ readonly data?: Readonly<Record<string, string>> }>(
    "/api/v1/namespaces/shop/configmaps/istio-ca-root-cert",
  );
  return data?.["root-cert.pem"];
}

async function bundle(): Promise<string> {
  const { webhooks } = await cluster.read<{ readonly webhooks: readonly { readonly clientConfig: { readonly caBundle?: string } }[] }>(
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/garrison",
  );
  return Buffer.from(webhooks[0]?.clientConfig.caBundle ?? "", "base64").toString();
}

/** The files of Citadel's Secret for the account. */
async function mounted(): Promise<Readonly<Record<"chain" | "roots", string>>> {
  const { data } = await cluster.read<{ readonly data?: Readonly<Record<string, string>> }>("/api/v1/namespaces/shop/secrets/istio.pay");
  const file = (name: string) => Buffer.from(data?.[name] ?? "", "base64").toString();
  return { chain: file("cert-chain.pem"), roots: file("root-cert.pem") };
}

/** Whether whoever trusts one root alone takes the chain. */
function isGoodUnder(root: string, chain: string): boolean {
  const [leaf, ...intermediates] = parseCertificates(chain);
  assert.ok(leaf);
  try {
    verifyChain({ leaf, roots: parseCertificates(ca.text(`${root}.pem`)), intermediates, time: Date.now(), purpose: "client" });
    return true;
  } catch {
    return false;
  }
}

/** Everybody who is told of roots has these. */
async function untilTrusted(...names: readonly string[]): Promise<void> {
  const roots = rootsOf(...names);
  await until(`all trust ${names.join(" and ")}`, async () => (await rootMap()) === roots && (await mounted()).roots === roots, 60_000);
  await until("the API server too", async () => (await bundle()) === roots);
}

before(async () => {
  for (const root of ["old-root", "new-root"]) ca.make(root);
  ca.make("old", { parent: "old-root", days: 20 });
  ca.make("new", { parent: "new-root", days: 20 });
  cluster = await Cluster.start(place);
  await cluster.apply(OBJECTS);
  await cluster.applyTemplate("citadel.yaml", { citadel: { namespaces: ["shop"] } });
  await cluster.pod("shop", "pay-1", { account: "pay", ip: "10.244.0.7", labels: { app: "pay" } });
  await cluster.create(secret("old", ["old-root"]));
  const flags = ["--ca-secret", "garrison-ca/garrison-ca", "--citadel", "shop", "--webhooks", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
  serve = place.start(["serve", "--kubeconfig", await cluster.controlPlaneKubeconfig(), ...flags]);
  await serve.line(/ control plane serves /);
  const [, port = ""] = /listen=127\.0\.0\.1:(\d+)/.exec(await serve.line(/ webhooks served /)) ?? [];
  await cluster.installWebhooks(Number(port));
});

describe("an operator's CA in the shared Secret", { timeout: 240_000 }, () => {
  test("signs from the start, and its root is what everybody trusts", async () => {
    await untilTrusted("old-root");
    const token = await cluster.token("shop", "pay", { audience: "istio-ca", pod: "pay-1" });
    const { chain } = await enrol(place.controlPlane(), PAY, token);
    assert.deepEqual([isGoodUnder("old-root", chain), isGoodUnder("new-root", chain)], [true, false]);
    assert.equal(isGoodUnder("old-root", (await mounted()).chain), true);
  });

  test("gives way to another root in three steps, and what was issued goes on to be good until the last", async () => {
    const token = await cluster.token("shop", "pay", { audience: "istio-ca", pod: "pay-1" });
    const material = await enrol(place.controlPlane(), PAY, token);
    await cluster.replace(secret("old", ["old-root", "new-root"]));
    await untilTrusted("old-root", "new-root");
    assert.equal(isGoodUnder("old-root", (await mounted()).chain), true);

    await cluster.replace(secret("new", ["old-root", "new-root"]));
    await until("Citadel's Secret is of the new root", async () => isGoodUnder("new-root", (await mounted()).chain), 60_000);
    const renewed = await requestCertificate(place.controlPlane(), buildCsr(generateKey(), PAY), { material });
    assert.equal(renewed.code, "OK", "a certificate of the old root is a proof still");
    assert.equal(renewed.code === "OK" && isGoodUnder("new-root", renewed.answer.slice(0, -1).join("")), true);

    await cluster.replace(secret("new", ["new-root"]));
    await untilTrusted("new-root");
    assert.equal((await requestCertificate(place.controlPlane(), buildCsr(generateKey(), PAY), { material })).code, "UNAUTHENTICATED");
  });

  test("that skips a step is not taken: the one before stays, and the status says why", async () => {
    await cluster.replace(secret("old", ["old-root"]));
    await serve.line(/the CA's files changed and are not taken/);
    const { stdout } = await place.run("status");
    assert.match(stdout, /the newest files are not taken: /);
    await untilTrusted("new-root");
  });
});
