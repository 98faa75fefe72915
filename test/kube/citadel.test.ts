/** Citadel mode, with the rights that the chart gives it: Secrets that applications mount, and the programs of others that use them. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { openKubernetesApi } from "../../src/sources/kubernetes/api.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { requestCertificate } from "../feature/caller.ts";
import type { GarrisonProcess } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith } from "./objects.ts";

const TYPE = "istio.io/key-and-cert";
const OBJECTS = `${namespaceWith("shop", ["pay", "web", "taken", "older"])}${namespaceWith("bank", ["teller"])}---
apiVersion: v1
kind: Secret
type: Opaque
metadata: { name: istio.taken, namespace: shop }
stringData: { password: a-person's }
---
apiVersion: v1
kind: Secret
type: ${TYPE}
metadata: { name: istio.older, namespace: shop }
stringData: { key.pem: another's }
`;

interface Secret {
  readonly type?: string;
  readonly metadata?: {
    readonly uid: string;
    readonly resourceVersion: string;
    readonly ownerReferences?: readonly { readonly uid: string }[];
  };
  readonly data?: Readonly<Record<string, string>>;
}

const place = new Place({ after });
let cluster: Cluster;
let kubeconfig: string;
let serve: GarrisonProcess;

function read(name: string): Promise<Secret> {
  return cluster.read(`/api/v1/namespaces/shop/secrets/istio.${name}`);
}

function file({ data }: Secret, name: string): string {
  return Buffer.from(data?.[name] ?? "", "base64").toString();
}

/** The Secret once it is as wanted. */
async function untilSecret(name: string, what: string, holds: (secret: Secret) => boolean): Promise<Secret> {
  let secret: Secret = {};
  await until(`istio.${name} ${what}`, async () => {
    secret = await read(name);
    return secret.data !== undefined && holds(secret);
  });
  return secret;
}

/** The files as a pod finds them that mounts the Secret. */
function mount(name: string, secret: Secret): string {
  const folder = join(place.folder, name);
  mkdirSync(folder, { recursive: true });
  for (const each of Object.keys(secret.data ?? {})) writeFileSync(join(folder, each), file(secret, each), { mode: 0o600 });
  return folder;
}

async function startServing(): Promise<GarrisonProcess> {
  const flags = ["--kubeconfig", kubeconfig, "--ca-secret", "garrison-ca/garrison-ca", "--citadel", "shop"];
  const process = place.start(["serve", ...flags, "--listen", "127.0.0.1:0"]);
  await process.line(/ control plane serves /);
  return process;
}

before(async () => {
  cluster = await Cluster.start(place);
  await cluster.apply(OBJECTS);
  await cluster.applyTemplate("citadel.yaml", { citadel: { namespaces: ["shop"] } });
  kubeconfig = await cluster.controlPlaneKubeconfig();
  serve = await startServing();
});

/** An OpenSSL server with the files of one Secret, which asks clients for a certificate of the mesh; its port. */
async function opensslServer(t: TestContext, folder: string): Promise<string> {
  const files = ["-cert", join(folder, "cert-chain.pem"), "-cert_chain", join(folder, "cert-chain.pem"), "-key", join(folder, "key.pem")];
  const trust = ["-CAfile", join(folder, "root-cert.pem"), "-Verify", "4", "-verify_return_error"];
  const server = spawn("openssl", ["s_server", "-accept", "127.0.0.1:0", "-www", ...files, ...trust], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  t.after(async () => {
    server.kill("SIGKILL");
    await once(server, "exit");
  });
  let output = "";
  server.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
  });
  await until("it accepts", () => /ACCEPT 127\.0\.0\.1:\d+/.test(output));
  return /ACCEPT 127\.0\.0\.1:(\d+)/.exec(output)?.[1] ?? "";
}

function curl(port: string, folder: string): string {
  // The name in a certificate of the mesh is no DNS name: curl checks the client's side of it here, `openssl verify` the server's.
  const files = ["--cert", join(folder, "cert-chain.pem"), "--key", join(folder, "key.pem"), "--cacert", join(folder, "root-cert.pem")];
  return execFileSync("curl", ["--silent", "--show-error", "--insecure", ...files, `https://127.0.0.1:${port}/`], { encoding: "utf8" });
}

describe("Citadel mode", { timeout: 180_000 }, () => {
  test("gives each service account of its namespaces a Secret that OpenSSL verifies, owned by the account", async () => {
    const secret = await untilSecret("pay", "is made", () => true);
    assert.equal(secret.type, TYPE);
    const { metadata } = await cluster.read<{ readonly metadata: { readonly uid: string } }>("/api/v1/namespaces/shop/serviceaccounts/pay");
    assert.deepEqual(
      secret.metadata?.ownerReferences?.map(({ uid }) => uid),
      [metadata.uid],
    );
    const folder = mount("pay", secret);
    const verified = execFileSync("openssl", [
      "verify",
      "-CAfile",
      join(folder, "root-cert.pem"),
      "-purpose",
      "sslclient",
      join(folder, "cert-chain.pem"),
    ]);
    assert.match(verified.toString(), /: OK$/m);
    const text = execFileSync("openssl", ["x509", "-noout", "-ext", "subjectAltName", "-in", join(folder, "cert-chain.pem")]);
    assert.match(text.toString(), /URI:spiffe:\/\/cluster\.local\/ns\/shop\/sa\/pay$/m);
    const listed = await cluster.read<{ readonly items: readonly unknown[] }>("/api/v1/namespaces/bank/secrets");
    assert.deepEqual(listed.items, []);
  });

  test("lets applications of others have mutual TLS by the mounted files, and the control plane knows them", async (t) => {
    const [pay, web] = [await untilSecret("pay", "is made", () => true), await untilSecret("web", "is made", () => true)];
    const port = await opensslServer(t, mount("web", web));
    const page = curl(port, mount("pay", pay));
    assert.match(page, /Verify return code: 0 \(ok\)/);
    assert.match(page, /X509v3 Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster\.local\/ns\/shop\/sa\/pay/);
    const material = { key: file(pay, "key.pem"), chain: file(pay, "cert-chain.pem"), roots: file(pay, "root-cert.pem") };
    const uri = "spiffe://cluster.local/ns/shop/sa/pay";
    assert.equal((await requestCertificate(place.controlPlane(), buildCsr(generateKey(), uri), { material })).code, "OK");
    const { stdout } = await place.run("ca", "list", "--json");
    assert.match(stdout, /"caller":"citadel"/);
  });

  test("puts back what is changed or removed by hand, and leaves alone what it did not make", async () => {
    const before = await untilSecret("web", "is made", () => true);
    const object = { apiVersion: "v1", kind: "Secret", metadata: { name: "istio.web", namespace: "shop" } };
    await cluster.replace({ ...(before as object), data: { ...before.data, "key.pem": "" }, kind: "Secret", apiVersion: "v1" } as never);
    const mended = await untilSecret("web", "is mended", (secret) => file(secret, "key.pem").includes("PRIVATE KEY"));
    assert.notEqual(file(mended, "key.pem"), file(before, "key.pem"));
    await cluster.remove(object);
    const again = await untilSecret("web", "is made again", ({ metadata }) => metadata?.uid !== mended.metadata?.uid);
    assert.match(file(again, "key.pem"), /PRIVATE KEY/);
    await serve.line(/ warn .*cannot be written .*shop\/istio\.older/i);
    await serve.line(/ warn .*cannot be written .*shop\/istio\.taken/i);
    assert.equal(file(await read("taken"), "password"), "a-person's");
    assert.equal(file(await read("older"), "key.pem"), "another's");
  });

  test("follows an account that goes, and one that comes", async () => {
    const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "late", namespace: "shop" } };
    await cluster.create(account);
    await untilSecret("late", "is made", () => true);
    await cluster.remove(account);
    await until("it is gone", async () => (await read("late")).data === undefined);
  });

  test("goes on where it ended: a replica that starts again rewrites nothing", async () => {
    const before = (await untilSecret("pay", "is made", () => true)).metadata?.resourceVersion;
    await serve.stop();
    serve = await startServing();
    await serve.line(/the Secrets of service accounts are written/);
    assert.equal((await read("pay")).metadata?.resourceVersion, before);
  });

  test("may write no other Secret, though a role cannot say so", async () => {
    const api = await openKubernetesApi({ file: kubeconfig });
    const secret = { apiVersion: "v1", kind: "Secret", type: "Opaque", metadata: { name: "other", namespace: "shop" } };
    const { status, body } = await api.call("POST", "/api/v1/namespaces/shop/secrets", secret);
    assert.equal(status, 403);
    assert.match(JSON.stringify(body), /may write only Secrets of type/);
    assert.equal((await api.call("DELETE", "/api/v1/namespaces/shop/secrets/istio.taken")).status, 403);
    assert.equal((await api.call("GET", "/api/v1/namespaces/bank/secrets")).status, 403);
  });
});
