import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { objectsOf } from "../../../test/fixture/yaml-mesh.ts";
import { silentLogger } from "../../core/logger.ts";
import type { WorkloadEntryFound } from "../../sources/kubernetes/found-objects.ts";
import { ClusterEntries } from "./cluster-entries.ts";
import { memberOf } from "./member.ts";

const BASE = "/apis/networking.istio.io/v1beta1/namespaces/shop";
const PATH = `${BASE}/workloadentries/web-10.0.0.1`;
const REPLICA = "garrison-replica-a";
const NOW = Date.parse("2026-01-31T12:00:00Z");

const [GROUP] = objectsOf(`apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: web, namespace: shop }
spec: { metadata: { labels: { app: web } }, template: { serviceAccount: web, ports: { http: 8080 } }, probe: { tcpSocket: { port: 1 } } }
`);

const WRITTEN = { key: "WorkloadGroup shop/web", path: `${BASE}/workloadgroups/web`, uid: "u-group" };

interface Stored {
  metadata: { uid?: string; resourceVersion?: string; annotations?: Record<string, string> };
  status?: { conditions?: readonly unknown[] };
}

/** One entry in an API server that counts versions, and refuses what was written from an older one. */
class Store {
  readonly api = new FakeKubernetesApi();
  readonly writes: string[] = [];
  stored: Stored | undefined;
  /** Somebody else writes before the next so many writes. */
  intruders = 0;
  #version = 1;

  constructor() {
    this.api.answer = (path, method = "GET", body) => {
      if (method === "GET")
        return this.stored === undefined ? { status: 404, body: {} } : { status: 200, body: structuredClone(this.stored) };
      this.writes.push(`${method} ${path.slice(BASE.length)}`);
      return { status: this.#write(method, path, body as Stored & { preconditions?: Stored["metadata"] }), body: {} };
    };
  }

  #write(method: string, path: string, body: Stored & { readonly preconditions?: Stored["metadata"] }): number {
    if (this.intruders > 0 && this.stored !== undefined) {
      this.intruders -= 1;
      this.#put({ ...this.stored });
    }
    const from = (body.preconditions ?? body.metadata).resourceVersion;
    if (method === "POST") return this.stored === undefined ? this.#put(body, 201) : 409;
    if (this.stored === undefined) return 404;
    if (from !== this.stored.metadata.resourceVersion) return 409;
    if (method === "DELETE") this.stored = undefined;
    else if (path.endsWith("/status")) this.#put({ ...this.stored, status: body.status ?? {} });
    else if (method === "PATCH")
      this.#put({
        ...this.stored,
        metadata: { ...this.stored.metadata, annotations: { ...this.annotations, ...body.metadata.annotations } },
      });
    else this.#put({ ...body, ...(this.stored.status === undefined ? {} : { status: this.stored.status }) });
    return 200;
  }

  #put(stored: Stored, status = 200): number {
    this.#version += 1;
    this.stored = { ...stored, metadata: { ...stored.metadata, uid: "u-entry", resourceVersion: String(this.#version) } };
    return status;
  }

  get annotations(): Readonly<Record<string, string>> {
    return this.stored?.metadata.annotations ?? {};
  }

  get conditions(): readonly unknown[] {
    return this.stored?.status?.conditions ?? [];
  }

  /** As a watch has it. */
  get entries(): readonly WorkloadEntryFound[] {
    if (this.stored === undefined) return [];
    const metadata = { name: "web-10.0.0.1", namespace: "shop", resourceVersion: this.stored.metadata.resourceVersion ?? "" };
    return [{ path: PATH, object: { metadata, body: { ...this.stored }, meaning: {} } }];
  }
}

function scene(t: TestContext) {
  if (GROUP?.kind !== "WorkloadGroup") throw new Error("no group");
  const store = new Store();
  const source = { entries: () => store.entries, written: () => [WRITTEN] };
  const entries = new ClusterEntries({ api: store.api, source, replica: REPLICA, clock: { now: () => NOW }, logger: silentLogger });
  t.after(() => entries.close());
  return { store, entries, group: GROUP, member: memberOf(GROUP, "10.0.0.1") };
}

describe("the entries of a cluster's machines", () => {
  it("are made in the version in which the group is served, owned by it", async (t) => {
    const { store, entries, group, member } = scene(t);
    await entries.connect(member, group);
    assert.deepEqual(store.writes, ["POST /workloadentries"]);
    assert.deepEqual(structuredClone(store.stored), {
      apiVersion: "networking.istio.io/v1beta1",
      kind: "WorkloadEntry",
      metadata: {
        name: "web-10.0.0.1",
        namespace: "shop",
        uid: "u-entry",
        resourceVersion: "2",
        labels: { app: "web" },
        annotations: {
          "istio.io/autoRegistrationGroup": "web",
          "istio.io/workloadController": REPLICA,
          "istio.io/connectedAt": "2026-01-31T12:00:00.000Z",
          "proxy.istio.io/health-checks-enabled": "true",
        },
        ownerReferences: [
          { apiVersion: "networking.istio.io/v1beta1", kind: "WorkloadGroup", name: "web", uid: "u-group", controller: true },
        ],
      },
      spec: { address: "10.0.0.1", labels: { app: "web" }, ports: { http: 8080 }, serviceAccount: "web" },
    });
  });

  it("are taken over from another replica, without what is no longer so, and keep what their status says", async (t) => {
    const { store, entries, group, member } = scene(t);
    const before = {
      "istio.io/autoRegistrationGroup": "web",
      "istio.io/workloadController": "garrison-replica-b",
      "istio.io/disconnectedAt": "x",
      old: "y",
    };
    store.stored = {
      metadata: { uid: "u-entry", resourceVersion: "1", annotations: before },
      status: { conditions: [{ type: "Healthy", status: "True" }] },
    };
    store.intruders = 2;
    await entries.connect(member, group);
    assert.deepEqual(store.writes, new Array(3).fill("PUT /workloadentries/web-10.0.0.1"));
    assert.deepEqual(Object.keys(store.annotations).sort(), [
      "istio.io/autoRegistrationGroup",
      "istio.io/connectedAt",
      "istio.io/workloadController",
      "proxy.istio.io/health-checks-enabled",
    ]);
    assert.equal(store.annotations["istio.io/workloadController"], REPLICA);
    assert.deepEqual(store.conditions, [{ type: "Healthy", status: "True" }]);
  });

  it("are not made in the place of one that somebody wrote, nor for ever against others who write", async (t) => {
    const { store, entries, group, member } = scene(t);
    store.stored = { metadata: { uid: "u-entry", resourceVersion: "1", annotations: {} } };
    await assert.rejects(
      entries.connect(member, group),
      /there is a WorkloadEntry `shop\/web-10\.0\.0\.1` already that nobody has registered/,
    );
    assert.deepEqual(store.writes, []);
    store.stored.metadata.annotations = { "istio.io/autoRegistrationGroup": "web" };
    store.intruders = 100;
    await assert.rejects(entries.connect(member, group), /others keep writing/);
  });

  it("have the health that was told, beside the conditions of others, written once", async (t) => {
    const { store, entries, group, member } = scene(t);
    await entries.connect(member, group);
    const other = { type: "Accepted", status: "True" };
    if (store.stored !== undefined) store.stored.status = { conditions: [other] };
    store.intruders = 1;
    await entries.report(member, { healthy: false, detail: "ill" });
    await entries.report(member, { healthy: false, detail: "ill" });
    const time = "2026-01-31T12:00:00.000Z";
    const health = { type: "Healthy", status: "False", message: "ill", lastProbeTime: time, lastTransitionTime: time };
    assert.deepEqual(store.conditions, [other, health]);
    assert.deepEqual(store.writes, ["POST /workloadentries", ...new Array(2).fill("PATCH /workloadentries/web-10.0.0.1/status")]);
  });

  it("are marked when their agent is away, and when it left before anybody saw the entry; another replica's are not", async (t) => {
    const { store, entries, group, member } = scene(t);
    await entries.connect(member, group);
    entries.refresh();
    entries.disconnect(member);
    await until("it is marked", () => store.annotations["istio.io/disconnectedAt"] === "2026-01-31T12:00:00.000Z");
    const marks = () => store.writes.filter((write) => write.startsWith("PATCH")).length;
    assert.equal(marks(), 1);
    await entries.connect(member, group);
    assert.equal(store.annotations["istio.io/disconnectedAt"], undefined);
    if (store.stored !== undefined)
      store.stored.metadata.annotations = { ...store.annotations, "istio.io/workloadController": "garrison-replica-b" };
    entries.disconnect(member);
    await entries.leave(member);
    await entries.close();
    assert.equal(marks(), 1);
    assert.equal(store.writes.includes("DELETE /workloadentries/web-10.0.0.1"), false);
  });

  it("go at once when their agent leaves, though others write meanwhile", async (t) => {
    const { store, entries, group, member } = scene(t);
    await entries.connect(member, group);
    store.intruders = 1;
    await entries.leave(member);
    assert.equal(store.stored, undefined);
    await entries.leave(member);
    await assert.rejects(entries.report(member, { healthy: true, detail: "" }), /registered no more/);
  });
});
