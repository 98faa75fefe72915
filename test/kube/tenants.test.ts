/** Somebody who may do as he likes in a namespace of his own, and wants what is of others: by a real API server, with his own rights. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type KubernetesApi, MERGE_PATCH, openKubernetesApi } from "../../src/sources/kubernetes/api.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { requestCertificate } from "../feature/caller.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith, service, slice } from "./objects.ts";
import { PROXIED, viewOf } from "./views.ts";

const CAPTURED = { "sidecar.istio.io/interceptionMode": "REDIRECT" };

/** Its name comes before those of all others. */
const TENANT = "aaa";
const RIGHTS = `---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: all, namespace: ${TENANT} }
rules:
  - { apiGroups: ["*"], resources: ["*"], verbs: ["*"] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: all, namespace: ${TENANT} }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: all }
subjects: [{ kind: ServiceAccount, name: tenant, namespace: ${TENANT} }]
`;

const READERS = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: readers, namespace: shop }
spec: { selector: { matchLabels: { app: pay } }, rules: [{ from: [{ source: { namespaces: [shop] } }] }] }
`;

const place = new Place({ after });
let cluster: Cluster;
let tenant: KubernetesApi;

/** Where the tenant's objects of a kind are. */
function at(plural: string, group = ""): string {
  return `${group === "" ? "/api/v1" : `/apis/${group}/v1`}/namespaces/${TENANT}/${plural}`;
}

const networking = (kind: string, name: string, spec: unknown) => ({
  apiVersion: "networking.istio.io/v1",
  kind,
  metadata: { name, namespace: TENANT },
  spec,
});

async function makes(path: string, object: unknown): Promise<void> {
  const { status, body } = await tenant.call("POST", path, object);
  assert.equal(status, 201, JSON.stringify(body));
}

async function rootsOf(namespace: string): Promise<string | undefined> {
  const path = `/api/v1/namespaces/${namespace}/configmaps/istio-ca-root-cert`;
  return (await cluster.read<{ readonly data?: Readonly<Record<string, string>> }>(path)).data?.["root-cert.pem"];
}

async function problems(): Promise<string> {
  return (await place.status()).diagnostics.map(({ text }) => text).join("\n");
}

const captureOf = async (workload: string) => (await viewOf(place, workload))?.policy.capture;

/** What a captured workload knows of an address: which service at which ports, or who must answer. */
async function knownAt(address: string): Promise<readonly string[]> {
  const { services = [], peers = [] } = (await captureOf("shop/caller")) ?? {};
  return [
    ...services.filter(({ addresses }) => addresses.includes(address)).map(({ upstream }) => `${upstream.host}:${upstream.port}`),
    ...peers
      .filter(({ addresses }) => addresses.includes(address))
      .map(({ transport }) => (transport.kind === "mtls" ? (transport.identities[0] ?? "") : transport.kind)),
  ];
}

before(async () => {
  cluster = await Cluster.start(place);
  await cluster.apply(`${namespaceWith(TENANT, ["tenant"])}${namespaceWith("shop", ["pay", "caller"])}${service("pay", 8080)}${RIGHTS}`);
  await cluster.pod("shop", "pay-0", { account: "pay", ip: "10.244.0.7", labels: { app: "pay", ...PROXIED }, annotations: CAPTURED });
  await cluster.pod("shop", "caller", { account: "caller", ip: "10.244.0.9", labels: PROXIED, annotations: CAPTURED });
  await cluster.create(slice("pay", 8080, { "pay-0": "10.244.0.7" }) as never);
  tenant = await openKubernetesApi({ file: cluster.server.writeKubeconfig("tenant", { token: await cluster.token(TENANT, "tenant") }) });
  const metadata = { name: "istio-ca-root-cert", namespace: TENANT };
  await makes(at("configmaps"), { apiVersion: "v1", kind: "ConfigMap", metadata, data: { "root-cert.pem": "mine" }, immutable: true });
  const shared = ["--ca-secret", "garrison-ca/garrison-ca", "--webhooks", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
  const serve = place.start(["serve", "--kubeconfig", await cluster.controlPlaneKubeconfig(), ...shared]);
  await serve.line(/ control plane serves /);
});

describe("a tenant of one namespace", { timeout: 240_000 }, () => {
  test("has no rights beyond it", async () => {
    assert.equal((await tenant.call("GET", "/api/v1/namespaces/shop/pods")).status, 403);
  });

  test("who wants no roots keeps them from nobody else", async () => {
    await until("the others have them", async () => (await rootsOf("shop")) !== undefined);
    await cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: late }\n");
    await until("and who comes later", async () => (await rootsOf("late")) !== undefined);
    assert.equal(await rootsOf(TENANT), "mine");
  });

  test("whose status is full keeps the others' from nobody", async () => {
    const policies = at("authorizationpolicies", "security.istio.io");
    const object = {
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name: "full", namespace: TENANT },
      spec: {},
    };
    await makes(policies, object);
    const statusOf = async (path: string) =>
      (await cluster.read<{ readonly status?: { readonly conditions?: readonly { readonly type: string }[] } }>(path)).status?.conditions;
    const types = async (path: string) => (await statusOf(path))?.map(({ type }) => type).join() ?? "";
    await until("it has a status", async () => (await types(`${policies}/full`)).includes("Enforced"));
    // As much as an API server keeps: what the control plane would add does not go in.
    let size = 1_572_000;
    const fill = async (): Promise<number> => {
      const conditions = [{ type: "Mine", status: "True", reason: "x".repeat(size) }];
      return (await tenant.call("PATCH", `${policies}/full/status`, { status: { conditions } }, MERGE_PATCH)).status;
    };
    while ((await fill()) !== 200) size -= 100;
    await cluster.apply(READERS);
    const readers = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/readers";
    await until("another's is written", async () => (await types(readers)).includes("Enforced"));
    assert.equal(await types(`${policies}/full`), "Mine");
    await tenant.call("DELETE", `${policies}/full`);
  });

  test("gets no certificate of another's, whatever he says", async () => {
    const token = await cluster.token(TENANT, "tenant", { audience: "istio-ca" });
    const ask = (id: string) =>
      requestCertificate(place.controlPlane(), buildCsr(generateKey(), `spiffe://cluster.local/ns/${id}`), { token });
    assert.equal((await ask(`${TENANT}/sa/tenant`)).code, "OK");
    for (const id of ["shop/sa/pay", `${TENANT}/sa/pay`, `${TENANT}/sa/tenant/ns/shop/sa/pay`])
      assert.notEqual((await ask(id)).code, "OK", id);
    await makes(
      at("workloadentries", "networking.istio.io"),
      networking("WorkloadEntry", "pay-0", { address: "10.244.0.7", serviceAccount: "pay" }),
    );
    await until("it is told", async () => (await problems()).includes(`${TENANT}/pay-0`));
    assert.deepEqual(await knownAt("10.244.0.7"), ["spiffe://cluster.local/ns/shop/sa/pay"]);
  });

  test("is led none of another's calls, by addresses, hosts, slices or rules", async () => {
    const port = { number: 8080, name: "tcp", protocol: "TCP" };
    const entries = at("serviceentries", "networking.istio.io");
    const entry = (name: string, more: object) =>
      networking("ServiceEntry", name, { resolution: "STATIC", ports: [port], endpoints: [{ address: "10.66.6.6" }], ...more });
    await makes(entries, entry("addresses", { hosts: ["a.example"], addresses: ["10.244.0.7", "10.66.0.1"] }));
    await makes(entries, entry("hosts", { hosts: ["pay.shop.svc.cluster.local", "pay-0.pay.shop.svc.cluster.local"] }));
    const { apiVersion, kind, addressType, ports } = slice("pay", 8080, {});
    const labels = { "kubernetes.io/service-name": "pay" };
    const endpoints = [
      { addresses: ["10.66.6.6"], conditions: { ready: true }, targetRef: { kind: "Pod", name: "pay-0", namespace: "shop" } },
    ];
    await makes(at("endpointslices", "discovery.k8s.io"), {
      apiVersion,
      kind,
      addressType,
      ports,
      endpoints,
      metadata: { name: "pay-1", namespace: TENANT, labels },
    });
    const host = "pay.shop.svc.cluster.local";
    const trafficPolicy = { tls: { mode: "DISABLE" } };
    await makes(
      at("destinationrules", "networking.istio.io"),
      networking("DestinationRule", "pay", { host, trafficPolicy, exportTo: ["*"] }),
    );
    await until("all is read", async () => (await knownAt("10.66.0.1")).join() === "a.example:8080");
    await until("what he may not is told", async () =>
      (await problems()).includes("`pay.shop.svc.cluster.local` belongs to namespace `shop`"),
    );
    assert.deepEqual(await knownAt("10.244.0.7"), ["spiffe://cluster.local/ns/shop/sa/pay"]);
    assert.deepEqual(await knownAt("10.66.6.6"), []);
    assert.match(await problems(), /captured traffic to 10\.244\.0\.7:8080 is for `shop\/pay-0`, and so never for `aaa\/a\.example`/);
  });

  test("holds up nobody by what he writes on many pods", async () => {
    const config = `[${"a,".repeat(110_000)}]`;
    const names = Array.from({ length: 12 }, (_, index) => `long-${index}`);
    for (const [index, name] of names.entries())
      await cluster.pod(TENANT, name, {
        account: "tenant",
        ip: `10.244.6.${index + 1}`,
        annotations: { "proxy.istio.io/config": config.replace("a", name) },
      });
    const began = performance.now();
    await until(
      "all are read, and told",
      async () => (await problems()).split("is longer than 8192 characters").length === names.length + 1,
    );
    assert.ok(performance.now() - began < 20_000);
  });
});
