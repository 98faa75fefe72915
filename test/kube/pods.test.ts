/** Pods of every kind that a cluster has: of Jobs, of headless services, on their node's network; and an API server that is killed in the middle. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { requestCertificate } from "../feature/caller.ts";
import type { GarrisonProcess } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { PROXIED, reachedBy, viewOf, workloadsOf } from "./views.ts";

const REPORT = "spiffe://cluster.local/ns/shop/sa/report";

/** The controller of EndpointSlices leaves out pods whose node it does not know. */
const SHOP = `
apiVersion: v1
kind: Node
metadata: { name: node-1 }
---
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: report, namespace: shop }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: db, namespace: shop }
---
apiVersion: v1
kind: Service
metadata: { name: db, namespace: shop }
spec: { clusterIP: None, selector: { app: db }, ports: [{ name: tcp-db, port: 5432 }] }
---
apiVersion: v1
kind: Service
metadata: { name: node-agent, namespace: shop }
spec: { clusterIP: None, selector: { app: node-agent }, ports: [{ name: tcp-agent, port: 9100 }] }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: report, namespace: shop }
spec:
  workloadSelector: { labels: { app: report } }
  egress:
    - { port: { number: 15432, protocol: TCP, name: tcp-db }, hosts: ["./db.shop.svc.cluster.local"] }
    - { port: { number: 19100, protocol: TCP, name: tcp-agent }, hosts: ["./node-agent.shop.svc.cluster.local"] }
`;

const REPORT_JOB = {
  apiVersion: "batch/v1",
  kind: "Job",
  metadata: { name: "report", namespace: "shop" },
  spec: {
    template: {
      metadata: { labels: { app: "report", ...PROXIED } },
      spec: { serviceAccountName: "report", restartPolicy: "Never", containers: [{ name: "app", image: "report" }] },
    },
  },
};

const DB_SET = {
  apiVersion: "apps/v1",
  kind: "StatefulSet",
  metadata: { name: "db", namespace: "shop" },
  spec: {
    serviceName: "db",
    replicas: 2,
    podManagementPolicy: "Parallel",
    selector: { matchLabels: { app: "db" } },
    template: {
      metadata: { labels: { app: "db", ...PROXIED } },
      // There is no scheduler.
      spec: { serviceAccountName: "db", nodeName: "node-1", containers: [{ name: "app", image: "db" }] },
    },
  },
};

const place = new Place({ after });
let cluster: Cluster;
let serve: GarrisonProcess;

before(async () => {
  cluster = await Cluster.start(place);
  cluster.server.startControllers(["job-controller", "statefulset-controller", "endpointslice-controller"]);
  await cluster.apply(SHOP);
  serve = place.start(["serve", "--kubeconfig", await cluster.controlPlaneKubeconfig(), "--listen", "127.0.0.1:0"]);
  await serve.line(/ control plane serves /);
});

/** The Job's pod, as its controller has made it. */
async function jobPod(): Promise<string> {
  let [name] = await cluster.podsWith("shop", "job-name=report");
  await until("the Job has a pod", async () => {
    [name] = await cluster.podsWith("shop", "job-name=report");
    return name !== undefined;
  });
  return name ?? "";
}

function allow(index: number) {
  return {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: `p-${index}`, namespace: "shop" },
    spec: { selector: { matchLabels: { app: "db" } }, rules: [{ from: [{ source: { namespaces: [`n-${index}`] } }] }] },
  };
}

describe("pods of every kind", { timeout: 180_000 }, () => {
  test("a Job's pod is a workload with its account's identity while it runs, and neither once it has ended", async () => {
    await cluster.create(REPORT_JOB);
    const name = await jobPod();
    await cluster.setPodStatus("shop", name, { phase: "Running", podIP: "10.244.0.20", conditions: [{ type: "Ready", status: "True" }] });
    await until("it is a workload", async () => (await workloadsOf(place)).includes(`shop/${name}`));
    assert.equal((await viewOf(place, `shop/${name}`))?.policy.identity, REPORT);
    const token = await cluster.token("shop", "report", { audience: "istio-ca", pod: name });
    const ask = () => requestCertificate(place.controlPlane(), buildCsr(generateKey(), REPORT), { token });
    assert.equal((await ask()).code, "OK");
    await cluster.setPodStatus("shop", name, { phase: "Succeeded", podIP: "10.244.0.20" });
    await until("it is none", async () => !(await workloadsOf(place)).includes(`shop/${name}`));
    await cluster.remove({ apiVersion: "v1", kind: "Pod", metadata: { name, namespace: "shop" } });
    await until("its token is worth nothing", async () => (await ask()).code === "UNAUTHENTICATED");
  });

  test("each pod of a StatefulSet answers for its account, and one on its node's network is called in plaintext", async () => {
    await cluster.pod("shop", "report", { account: "report", ip: "10.244.0.30", labels: { app: "report", ...PROXIED } });
    await cluster.create(DB_SET as never);
    await until("the StatefulSet has its pods", async () => (await cluster.podsWith("shop", "app=db")).toSorted().join() === "db-0,db-1");
    for (const [name, podIP] of [
      ["db-0", "10.244.0.31"],
      ["db-1", "10.244.0.32"],
    ] as const)
      await cluster.setPodStatus("shop", name, { phase: "Running", podIP, conditions: [{ type: "Ready", status: "True" }] });
    await cluster.pod("shop", "agent-1", { account: "db", ip: "192.0.2.1", labels: { app: "node-agent" }, hostNetwork: true });
    const db = "spiffe://cluster.local/ns/shop/sa/db";
    await until("all are reached", async () => (await reachedBy(place, "shop/report")).length === 3);
    assert.deepEqual(await reachedBy(place, "shop/report"), [
      `10.244.0.31:5432 ${db}`,
      `10.244.0.32:5432 ${db}`,
      "192.0.2.1:9100 in plaintext",
    ]);
    assert.deepEqual((await viewOf(place, "shop/agent-1"))?.policy.inbound, []);
  });

  test("an API server that is killed in the middle of many changes leaves all that it has taken in force in the end, and nothing else", async () => {
    const offer = async (index: number): Promise<void> => {
      await cluster.create(allow(index)).catch(() => undefined);
    };
    const changes = (async () => {
      for (let index = 0; index < 200; index++) await offer(index);
    })();
    await until("some are taken", async () => ((await viewOf(place, "shop/db-0"))?.policy.tcp.allow ?? []).length > 3);
    await cluster.server.stop("kube-apiserver");
    await changes;
    await serve.line(/the last ones seen stay in force /);
    assert.ok((await workloadsOf(place)).includes("shop/db-0"));
    await cluster.server.startServing();
    await cluster.create(allow(200));
    await cluster.remove(allow(0));
    const { items } = await cluster.read<{ readonly items: readonly { readonly metadata: { readonly name: string } }[] }>(
      "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies",
    );
    const expected = items.map(({ metadata }) => `shop/${metadata.name}`).sort();
    assert.ok(expected.length > 3 && expected.length < 200, `${expected.length} were taken: it was not killed in the middle`);
    await until("all of them are in force", async () => {
      const rules = (await viewOf(place, "shop/db-0"))?.policy.tcp.allow ?? [];
      return (
        rules
          .map(({ origin }) => `${origin.namespace}/${origin.policy}`)
          .sort()
          .join() === expected.join()
      );
    });
  });
});
