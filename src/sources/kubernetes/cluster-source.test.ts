import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { silentLogger } from "../../core/logger.ts";
import type { ConfigurationSnapshot } from "../snapshot.ts";
import { watchCluster } from "./cluster-source.ts";

const POLICIES = "/apis/security.istio.io/v1/authorizationpolicies";

function policy(resourceVersion: string, path: string, field = "paths") {
  const rules = [{ to: [{ operation: { [field]: [path] } }] }];
  return { metadata: { name: "readers", namespace: "shop", resourceVersion, managedFields: [{ manager: "kubectl" }] }, spec: { rules } };
}

function page(items: readonly unknown[]) {
  return { status: 200, body: { metadata: { resourceVersion: "1" }, items } };
}

function setUp(items: readonly unknown[]) {
  const api = new FakeKubernetesApi();
  api.answer = (path) => page(path.startsWith(POLICIES) ? items : []);
  const snapshots: ConfigurationSnapshot[] = [];
  const open = async (t: TestContext) => {
    const source = await watchCluster({ api, logger: silentLogger, onSnapshot: (snapshot) => void snapshots.push(snapshot) });
    t.after(() => source.close());
    return source;
  };
  const watch = () => api.watches.find(({ path }) => path.startsWith(POLICIES));
  return { api, snapshots, open, watch };
}

test("nothing is told before every kind has been read: half a state could lack just the DENY", async (t) => {
  const { api, snapshots, open } = setUp([policy("1", "/a")]);
  const answer = api.answer;
  api.answer = (path) => (path.startsWith("/api/v1/pods") ? new Error("not yet") : answer(path));
  const opening = open(t);
  await until("the policies were read", () => api.watches.some(({ path }) => path.startsWith(POLICIES)));
  assert.equal(snapshots.length, 0);
  api.answer = answer;
  const source = await opening;
  assert.deepEqual(
    source.current.statuses.map(({ key, state }) => [key, state]),
    [["AuthorizationPolicy shop/readers", "current"]],
  );
});

test("an edit that is invalid keeps the last valid form, and says so with the object's name; its removal is at once", async (t) => {
  const { snapshots, open, watch } = setUp([policy("1", "/a")]);
  const source = await open(t);
  const before = source.current.objects;
  watch()?.send({ type: "MODIFIED", object: policy("2", "/b", "pathz") });
  await until("it is told", () => snapshots.length === 2);
  assert.deepEqual(
    source.current.statuses.map(({ state }) => state),
    ["kept"],
  );
  assert.deepEqual(source.current.objects, before);
  assert.match(source.current.diagnostics[0]?.message ?? "", /pathz/);
  assert.equal(source.current.diagnostics[0]?.place.file, "AuthorizationPolicy shop/readers");
  watch()?.send({ type: "DELETED", object: policy("3", "/b", "pathz") });
  await until("it is gone", () => source.current.objects.length === 0);
});

test("a policy that was never valid is closed", async (t) => {
  const { open } = setUp([policy("1", "/a", "pathz")]);
  const source = await open(t);
  assert.deepEqual(
    source.current.statuses.map(({ state }) => state),
    ["closed"],
  );
});

test("objects that did not change are the same objects in the next snapshot", async (t) => {
  const { snapshots, open, watch } = setUp([policy("1", "/a")]);
  const source = await open(t);
  const [first] = source.current.objects;
  watch()?.send({
    type: "ADDED",
    object: { ...policy("2", "/b"), metadata: { name: "writers", namespace: "shop", resourceVersion: "2" } },
  });
  await until("it is told", () => snapshots.length === 2);
  assert.equal(source.current.objects.length, 2);
  assert.equal(source.current.objects[0], first);
});

test("the wait for the first state can be ended", async () => {
  const api = new FakeKubernetesApi();
  api.answer = () => new Error("away");
  const ended = new AbortController();
  const opening = watchCluster({ api, logger: silentLogger, onSnapshot: () => assert.fail(), signal: ended.signal });
  ended.abort();
  await assert.rejects(opening, { code: "unavailable" });
});
