import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { silentLogger } from "../../core/logger.ts";
import type { WrittenObject } from "../../sources/kubernetes/found-objects.ts";
import type { ProxyCounts } from "../../sources/kubernetes/replica-reports.ts";
import { readConditions } from "./conditions.ts";
import { StatusWriter } from "./status-writer.ts";

const KEY = "AuthorizationPolicy shop/readers";
const PATH = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies";

function written(name: string, more: Partial<WrittenObject> = {}): WrittenObject {
  return {
    key: `AuthorizationPolicy shop/${name}`,
    path: `${PATH}/${name}`,
    uid: `u-${name}`,
    resourceVersion: "7",
    generation: 4,
    status: undefined,
    state: "current",
    instead: undefined,
    ...more,
  };
}

interface Patch {
  readonly metadata: unknown;
  readonly status: { readonly observedGeneration: number; readonly conditions: unknown };
}

/** A writer over these objects; what is written becomes their status, as a real server has it. */
function setUp(t: TestContext, objects: WrittenObject[], refuse: (path: string) => number = () => 200) {
  const api = new FakeKubernetesApi();
  const patches: (readonly [path: string, patch: Patch])[] = [];
  const place = { file: KEY, line: 0, column: 0 };
  const mesh = {
    statuses: [{ object: KEY, closed: false, workloads: ["shop/a", "shop/b"] }],
    diagnostics: [{ code: "GAR0103" as const, message: "told", place }],
  };
  let counts: ProxyCounts = new Map([[KEY, { connected: 2, enforced: 1 }]]);
  let leads = true;
  api.answer = (path, _method, body) => {
    patches.push([path, body as Patch]);
    const status = refuse(path);
    const index = objects.findIndex((object) => `${object.path}/status` === path);
    const object = objects[index];
    if (status === 200 && object !== undefined) objects[index] = { ...object, status: (body as Patch).status };
    return { status, body: {} };
  };
  const writer = new StatusWriter({
    api,
    source: { written: () => objects },
    mesh: () => mesh,
    counts: () => counts,
    mayWrite: () => leads,
    clock: { now: () => 0 },
    logger: silentLogger,
    settleMs: 1,
    intervalMs: 1,
  });
  t.after(() => writer.close());
  const change = (next: { readonly counts?: ProxyCounts; readonly leads?: boolean }): void => {
    counts = next.counts ?? counts;
    leads = next.leads ?? leads;
    writer.refresh();
  };
  return { patches, change, writer };
}

test("a status says what became of the object and where it is in force, of this very object", async (t) => {
  const { patches, change } = setUp(t, [written("readers")]);
  change({});
  await until("it is written", () => patches.length === 1);
  const [path, { metadata, status }] = patches[0] ?? ["", { metadata: {}, status: { observedGeneration: 0, conditions: [] } }];
  assert.deepEqual([path, metadata, status.observedGeneration], [`${PATH}/readers/status`, { uid: "u-readers", resourceVersion: "7" }, 4]);
  assert.deepEqual(
    readConditions(status).map(({ type, status: state, message }) => `${type} ${state} ${message}`),
    ["Accepted True in force, but GAR0103: told", "Enforced False selects 2 workloads; enforced on 1 of 2 connected proxies"],
  );
});

test("what is written is not written again; what changes is", async (t) => {
  const { patches, change, writer } = setUp(t, [written("readers"), written("other")]);
  change({});
  await until("both are written", () => patches.length === 2);
  change({});
  change({ counts: new Map([[KEY, { connected: 2, enforced: 2 }]]) });
  await until("the one is written", () => patches.length === 3);
  await writer.close();
  assert.deepEqual(
    patches.slice(2).map(([path]) => path),
    [`${PATH}/readers/status`],
  );
});

test("a replica that may not write does not", async (t) => {
  const { patches, change, writer } = setUp(t, [written("readers")]);
  change({ leads: false });
  change({});
  await writer.close();
  assert.deepEqual(patches, []);
});

test("an object that is gone, or another by now, holds up nobody", async (t) => {
  const { patches, change } = setUp(t, [written("gone"), written("another"), written("readers")], (path) =>
    path.includes("gone") ? 404 : path.includes("another") ? 409 : 200,
  );
  change({});
  await until("the last is written", () => patches.some(([path]) => path.includes("readers")));
});

test("a burst is written in rounds, all of it", async (t) => {
  const many = Array.from({ length: 120 }, (_, index) => written(`p${index}`));
  const { patches, change } = setUp(t, many);
  change({});
  await until("all are written", () => patches.length === 120);
});

test("an object whose status cannot be written holds up nobody, and is left alone until it is another version", async (t) => {
  const objects = [written("huge"), written("refused"), written("readers")];
  const { patches, change } = setUp(t, objects, (path) => (path.includes("huge") ? 500 : path.includes("refused") ? 422 : 200));
  change({});
  await until("the last is written", () => patches.some(([path]) => path.includes("readers")));
  change({ counts: new Map([[KEY, { connected: 2, enforced: 2 }]]) });
  await until("it is written again", () => patches.filter(([path]) => path.includes("readers")).length === 2);
  assert.equal(patches.length, 4);
  objects[0] = written("huge", { resourceVersion: "8" });
  change({});
  await until("the other version is tried", () => patches.length === 5);
});

test("a namespace with many changes leaves the others theirs", async (t) => {
  const many = Array.from({ length: 200 }, (_, index) => written(`p${index}`));
  const other = written("own", { key: "AuthorizationPolicy bank/own", path: PATH.replace("shop", "bank") });
  const { patches, change } = setUp(t, [...many, other]);
  change({});
  await until("it is written", () => patches.some(([path]) => path.includes("/bank/")));
  assert.ok(patches.length <= 50);
});
