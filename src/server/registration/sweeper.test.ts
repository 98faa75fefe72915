import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { silentLogger } from "../../core/logger.ts";
import type { WorkloadEntryFound } from "../../sources/kubernetes/found-objects.ts";
import { EntrySweeper, type EntrySweeperOptions } from "./sweeper.ts";

const [LIVING, DEAD] = ["garrison-replica-a", "garrison-replica-b"];
const BASE = "/apis/networking.istio.io/v1/namespaces/shop/workloadentries";

function entry(name: string, annotations: Readonly<Record<string, string>>, version = "1"): WorkloadEntryFound {
  const metadata = { name, namespace: "shop", resourceVersion: version };
  return { path: `${BASE}/${name}`, object: { metadata, body: { metadata: { ...metadata, uid: `u-${name}`, annotations } }, meaning: {} } };
}

function of(controller: string, more: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  return { "istio.io/autoRegistrationGroup": "web", "istio.io/workloadController": controller, ...more };
}

const AWAY = { "istio.io/disconnectedAt": "2026-01-31T12:00:00Z" };

type Options = Partial<Pick<EntrySweeperOptions, "graceMs" | "mayWrite" | "alive">>;

function sweep(t: TestContext, given: readonly WorkloadEntryFound[], more: Options = {}) {
  const world = { entries: given };
  const api = new FakeKubernetesApi();
  const deleted: string[] = [];
  api.answer = (path, method, body) => {
    if (method === "DELETE") deleted.push(`${path.slice(BASE.length + 1)} ${JSON.stringify(body)}`);
    world.entries = world.entries.filter((found) => found.path !== path);
    return { status: 200, body: {} };
  };
  const source = { entries: () => world.entries };
  const sweeper = new EntrySweeper({
    api,
    source,
    alive: () => new Set([LIVING]),
    mayWrite: () => true,
    graceMs: 100,
    logger: silentLogger,
    lookMs: 10,
    ...more,
  });
  t.after(() => sweeper.close());
  return { world, deleted };
}

const preconditions = (name: string, resourceVersion = "1") =>
  `${name} ${JSON.stringify({ apiVersion: "v1", kind: "DeleteOptions", preconditions: { uid: `u-${name}`, resourceVersion } })}`;

test("entries of agents that are away and of replicas that died go, in just the form that was seen; others stay", async (t) => {
  const { world, deleted } = sweep(t, [
    entry("connected", of(LIVING)),
    entry("away", of(LIVING, AWAY)),
    entry("orphan", of(DEAD), "7"),
    entry("istiod", of("istiod-5d8f", AWAY)),
    entry("written", {}),
    entry("annotated", { "istio.io/workloadController": DEAD }),
  ]);
  await until("both are gone", () => deleted.length === 2);
  assert.deepEqual(deleted.toSorted(), [preconditions("away"), preconditions("orphan", "7")].toSorted());
  assert.deepEqual(
    world.entries.map(({ object }) => object.metadata.name),
    ["connected", "istiod", "written", "annotated"],
  );
});

test("an entry whose agent comes back within the grace stays, and waits anew when it goes again", async (t) => {
  const { world, deleted } = sweep(t, [entry("away", of(LIVING, AWAY)), entry("first", of(LIVING, AWAY))], { graceMs: 400 });
  world.entries = world.entries.map((found) => (found.path.endsWith("/away") ? entry("away", of(LIVING), "2") : found));
  await until("the other is gone", () => deleted.length === 1);
  assert.deepEqual(deleted, [preconditions("first")]);
  world.entries = [entry("away", of(LIVING, { "istio.io/disconnectedAt": "2026-01-31T12:01:00Z" }), "3")];
  await until("it is gone too", () => deleted.length === 2);
  assert.deepEqual(deleted[1], preconditions("away", "3"));
});

test("whoever does not hold the Lease, or does not know who lives, takes nothing away", async (t) => {
  const looks = { lease: 0, alive: 0 };
  const { deleted } = sweep(t, [entry("away", of(LIVING, AWAY)), entry("orphan", of(DEAD))], {
    graceMs: 0,
    // The Lease comes with the third look, and word of the others with the fifth.
    mayWrite: () => ++looks.lease > 2,
    alive: () => (++looks.alive > 2 ? new Set([LIVING]) : undefined),
  });
  await until("both are gone", () => deleted.length === 2);
  assert.ok(looks.lease >= 5, String(looks.lease));
});
