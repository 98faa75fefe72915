import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { silentLogger } from "../../core/logger.ts";
import { DOUBT, type ProxyCounts, ReplicaReports, sumCounts } from "./replica-reports.ts";

const LEASES = "/apis/coordination.k8s.io/v1/namespaces/garrison-system/leases";
const OWN: ProxyCounts = new Map([
  ["AuthorizationPolicy shop/a", { connected: 2, enforced: 1 }],
  ["AuthorizationPolicy shop/nobody", { connected: 0, enforced: 0 }],
]);

function lease(name: string, proxies: string, resourceVersion = "1") {
  return { metadata: { name, namespace: "garrison-system", resourceVersion, annotations: { "garrison.dev/proxies": proxies } } };
}

function setUp(t: TestContext, items: readonly unknown[], exists = true) {
  const api = new FakeKubernetesApi();
  const writes: (readonly [method: string | undefined, path: string, body: unknown])[] = [];
  api.answer = (path, method, body) => {
    if (method === "GET") return { status: 200, body: { metadata: { resourceVersion: "1" }, items } };
    writes.push([method, path, body]);
    return method === "PATCH" && !exists ? { status: 404, body: {} } : { status: method === "POST" ? 201 : 200, body: {} };
  };
  const reports = new ReplicaReports({
    api,
    logger: silentLogger,
    namespace: "garrison-system",
    replica: "me",
    address: "10.0.0.1:15012",
    counts: () => OWN,
    mayWrite: () => true,
    onChange: () => undefined,
  });
  t.after(() => reports.close());
  return { api, reports, writes };
}

test("a replica reports what it knows, into a Lease of its own, and takes that away when it ends", async (t) => {
  const { writes, reports } = setUp(t, [], false);
  await until("it is made", () => writes.length === 2);
  assert.deepEqual(
    writes.map(([method, path]) => [method, path]),
    [
      ["PATCH", `${LEASES}/me`],
      ["POST", LEASES],
    ],
  );
  const [, , made] = writes[1] ?? [];
  const { metadata } = (made ?? lease("none", "")) as ReturnType<typeof lease>;
  assert.equal(metadata.annotations["garrison.dev/proxies"], '{"AuthorizationPolicy shop/a":[2,1]}');
  await reports.close();
  assert.deepEqual(writes.at(-1)?.slice(0, 2), ["DELETE", `${LEASES}/me`]);
});

test("while the API server does not tell of the own Lease, it is doubted whether it tells of all", async (t) => {
  const { reports } = setUp(t, [lease("other", "{}")]);
  assert.deepEqual(reports.known, { addresses: new Map(), doubt: DOUBT });
  await until("one is known", () => reports.known.addresses.size === 1);
  assert.deepEqual(reports.known, { addresses: new Map([["other", undefined]]), doubt: DOUBT });
});

test("who lives beside this one is known with the own Lease", async (t) => {
  const { reports } = setUp(t, [lease("other", "{}"), lease("me", "{}")]);
  await until("they are known", () => reports.known.doubt === undefined);
  assert.deepEqual([...reports.known.addresses.keys()], ["other"]);
});

test("the counts of others are read, never its own, and what is no report counts nothing", async (t) => {
  const { reports, api } = setUp(t, [
    lease("other", '{"AuthorizationPolicy shop/a":[3,3],"x":["y"],"z":7}'),
    lease("me", '{"AuthorizationPolicy shop/a":[9,9]}'),
    lease("broken", "{"),
  ]);
  await until("they are known", () => reports.others.length === 2);
  assert.ok(api.asked.some((path) => path.startsWith(`${LEASES}?labelSelector=garrison.dev%2Freplica&`)));
  assert.deepEqual(
    [...sumCounts([OWN, ...reports.others])],
    [
      ["AuthorizationPolicy shop/a", { connected: 5, enforced: 4 }],
      ["AuthorizationPolicy shop/nobody", { connected: 0, enforced: 0 }],
    ],
  );
});
