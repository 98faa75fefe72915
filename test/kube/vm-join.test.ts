/** Machines that register themselves: WorkloadEntries that two replicas write, hand over and take away, with the rights that the chart gives them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { GarrisonProcess, garrison } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { OF_MACHINES, unusedRights } from "./rights.ts";

const ADDRESS = "127.0.0.2";
const ENTRIES = "/apis/networking.istio.io/v1/namespaces/shop/workloadentries";
const NAME = `web-${ADDRESS}`;

const shop = (port: number): string => `
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: shop }
---
apiVersion: networking.istio.io/v1beta1
kind: WorkloadGroup
metadata: { name: web, namespace: shop, annotations: { garrison.dev/addresses: 127.0.0.0/8 } }
spec:
  metadata: { labels: { app: web } }
  template: { serviceAccount: web, ports: { http: 8080 } }
  probe: { periodSeconds: 1, failureThreshold: 1, tcpSocket: { port: ${port}, host: 127.0.0.1 } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: web-127.0.0.9, namespace: shop }
spec: { address: 10.9.9.9, serviceAccount: web }
`;

interface Entry {
  readonly kind: string;
  readonly metadata: {
    readonly uid: string;
    readonly labels: Readonly<Record<string, string>>;
    /** Of an entry that is there. */
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences: readonly { readonly apiVersion: string; readonly kind: string; readonly name: string }[];
  };
  readonly spec: unknown;
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message: string }[] };
}

const first = new Place({ after });
const second = new Place({ after });
let cluster: Cluster;
let kubeconfig: string;
let application: Server;
let port: number;

async function listen(): Promise<void> {
  application = createServer((socket) => socket.destroy());
  application.listen(port, "127.0.0.1");
  await once(application, "listening");
}

function serve(at: Place): Promise<GarrisonProcess> {
  const flags = ["--kubeconfig", kubeconfig, "--ca-secret", "garrison-ca/garrison-ca", "--vm-grace", "15"];
  const process = at.start(["serve", ...flags, "--listen", "127.0.0.1:0"]);
  return process.line(/ control plane serves /).then(() => process);
}

/** The command line of the machine, for the control plane at a place. */
function command(at: Place, address: string, ...more: readonly string[]): readonly string[] {
  const { host, port: at15012, rootCertificate } = at.controlPlane();
  const folder = join(first.folder, "vm");
  mkdirSync(folder, { recursive: true });
  copyFileSync(rootCertificate, join(folder, "root-cert.pem"));
  const where = ["--root-ca", join(folder, "root-cert.pem"), "--state", join(folder, "state"), "--output-certs", join(folder, "certs")];
  const who = ["--control-plane", `${host}:${at15012}`, "--group", "shop/web", "--address", address];
  return ["vm", "join", ...who, ...where, "--proxy", "none", ...more];
}

async function joined(at: Place, ...more: readonly string[]): Promise<GarrisonProcess> {
  const agent = new GarrisonProcess(first, command(at, ADDRESS, ...more));
  await agent.line(/ this machine is registered /);
  return agent;
}

const read = (name = NAME) => cluster.read<Entry>(`${ENTRIES}/${name}`);

async function isThere(): Promise<boolean> {
  return (await read()).kind === "WorkloadEntry";
}

async function said(type: string): Promise<string | undefined> {
  const found = (await read()).status?.conditions?.find((condition) => condition.type === type);
  return found === undefined ? undefined : `${found.status}: ${found.message}`;
}

async function healthAt(at: Place): Promise<string | undefined> {
  return (await at.status()).workloads.find(({ workload }) => workload === `shop/${NAME}`)?.health?.state;
}

before(async () => {
  port = await pickPort();
  cluster = await Cluster.start(first);
  await cluster.apply(shop(port));
  kubeconfig = await cluster.controlPlaneKubeconfig();
  first.after(() => application.close());
  await listen();
});

describe("machines of a WorkloadGroup in a cluster", { timeout: 400_000 }, () => {
  let agent: GarrisonProcess;
  let uid: string;
  let controller: string;
  let own: GarrisonProcess;
  let other: GarrisonProcess;

  test("have an entry as Istio writes it, owned by their group, with the health that their agent tells", async () => {
    own = await serve(first);
    other = await serve(second);
    const { stdout } = await first.run("token", "join", "--group", "shop/web");
    agent = await joined(first, "--join-token", stdout.trim());
    const { metadata, spec } = await read();
    uid = metadata.uid;
    controller = metadata.annotations?.["istio.io/workloadController"] ?? "";
    assert.deepEqual(spec, { address: ADDRESS, labels: { app: "web" }, ports: { http: 8080 }, serviceAccount: "web" });
    assert.deepEqual(metadata.labels, { app: "web" });
    assert.equal(metadata.annotations?.["istio.io/autoRegistrationGroup"], "web");
    assert.match(controller, /^garrison-replica-/);
    assert.match(metadata.annotations?.["istio.io/connectedAt"] ?? "", /^\d{4}-/);
    assert.deepEqual(
      metadata.ownerReferences.map(({ kind, name }) => `${kind} ${name}`),
      ["WorkloadGroup web"],
    );
    await until("it is healthy at both", async () => (await healthAt(first)) === "healthy" && (await healthAt(second)) === "healthy");
    assert.equal(await said("Healthy"), "True: ");
  });

  test("get no calls while they are not well, beside what else is said of them", async () => {
    application.close();
    await until("it is unhealthy at both", async () => (await healthAt(first)) === "unhealthy" && (await healthAt(second)) === "unhealthy");
    assert.equal(await said("Healthy"), "False: the application cannot be reached: ECONNREFUSED");
    await until("the other condition is there", async () => (await said("Accepted")) === "True: the object is in force");
    assert.equal(await said("Healthy"), "False: the application cannot be reached: ECONNREFUSED");
    await listen();
    await until("it is healthy at both", async () => (await healthAt(first)) === "healthy" && (await healthAt(second)) === "healthy");
    assert.equal(await said("Accepted"), "True: the object is in force");
  });

  test("are handed over to the replica to which they come back, without having been away", async () => {
    await agent.kill();
    agent = await joined(second);
    const { metadata } = await read();
    assert.equal(metadata.uid, uid);
    assert.notEqual(metadata.annotations?.["istio.io/workloadController"], controller);
    assert.equal(metadata.annotations?.["istio.io/disconnectedAt"], undefined);
    assert.equal(await healthAt(first), "healthy");
  });

  test("are taken away by another replica when theirs is killed and they do not come back", async () => {
    await other.kill();
    await agent.line(/this machine is not registered.*ECONNREFUSED/);
    assert.equal(await isThere(), true);
    await until("it is swept", async () => !(await isThere()), 90_000);
    await agent.kill();
  });

  test("come again, are taken away after a while when they are killed, and at once when they leave", async () => {
    agent = await joined(first);
    assert.notEqual((await read()).metadata.uid, uid);
    await agent.kill();
    await until("it is marked", async () => (await read()).metadata.annotations?.["istio.io/disconnectedAt"] !== undefined);
    await until("it is swept", async () => !(await isThere()), 60_000);
    agent = await joined(first);
    assert.equal(await agent.stop(), 0);
    assert.equal(await isThere(), false);
  });

  test("get no entry in the place of one that somebody wrote, which stays", async () => {
    const { stdout } = await first.run("token", "join", "--group", "shop/web");
    rmSync(join(first.folder, "vm"), { recursive: true });
    const refused = await garrison(command(first, "127.0.0.9", "--join-token", stdout.trim()));
    assert.match(refused.stderr, /there is a WorkloadEntry `shop\/web-127\.0\.0\.9` already that nobody has registered/);
    assert.deepEqual((await read("web-127.0.0.9")).spec, { address: "10.9.9.9", serviceAccount: "web" });
  });

  test("go with their group by Kubernetes' own garbage collector, which leaves them while it is there", async () => {
    const { stdout } = await first.run("token", "join", "--group", "shop/web");
    agent = await joined(first, "--join-token", stdout.trim());
    // Of the control planes none is left that could do it, or tell the agent.
    await own.kill();
    await agent.kill();
    const [owner] = (await read()).metadata.ownerReferences;
    assert.ok(owner);
    const orphan = { ...owner, uid: "6f1d9c1e-0000-4000-8000-000000000000" };
    const seen = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "seen", namespace: "shop", ownerReferences: [orphan] } };
    await cluster.create(seen);
    cluster.server.startControllers(["garbage-collector-controller"]);
    const isGone = async (path: string): Promise<boolean> => (await cluster.read<{ readonly kind: string }>(path)).kind === "Status";
    await until("the collector works", () => isGone("/api/v1/namespaces/shop/configmaps/seen"), 90_000);
    assert.equal(await isThere(), true);
    await cluster.remove({ apiVersion: "networking.istio.io/v1", kind: "WorkloadGroup", metadata: { name: "web", namespace: "shop" } });
    await until("the entry is collected", async () => !(await isThere()), 60_000);
    assert.deepEqual((await read("web-127.0.0.9")).spec, { address: "10.9.9.9", serviceAccount: "web" });
  });

  test("are all that the control plane may write entries for", () => {
    assert.deepEqual(unusedRights(cluster, OF_MACHINES), []);
  });
});
