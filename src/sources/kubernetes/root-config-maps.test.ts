import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { RecordingLogger } from "../../../test/fakes/recording-logger.ts";
import { RootConfigMaps } from "./root-config-maps.ts";

function configMap(namespace: string, roots: string) {
  return { metadata: { name: "istio-ca-root-cert", namespace, resourceVersion: "1" }, data: { "root-cert.pem": roots, other: "kept" } };
}

function setUp(
  t: TestContext,
  items: readonly unknown[],
  refuse: (path: string) => { readonly status: number; readonly body: unknown } | undefined = () => undefined,
) {
  const api = new FakeKubernetesApi();
  const logger = new RecordingLogger();
  const writes: (readonly [method: string | undefined, path: string, body: unknown])[] = [];
  api.answer = (path, method, body) => {
    if (method === "GET") return { status: 200, body: { metadata: { resourceVersion: "1" }, items } };
    writes.push([method, path, body]);
    return refuse(path) ?? { status: 201, body: {} };
  };
  const names: string[] = ["shop", "bank", "kube-system"];
  let leads = true;
  const maps = new RootConfigMaps({ api, logger, namespaces: () => names, roots: () => "ROOTS", mayWrite: () => leads });
  t.after(() => maps.close());
  const resign = (): void => {
    leads = false;
  };
  return { api, logger, maps, writes, names, resign };
}

const MADE = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "istio-ca-root-cert" }, data: { "root-cert.pem": "ROOTS" } };

test("it is made where it is missing, mended where it is another, and left alone elsewhere and in Kubernetes' own namespaces", async (t) => {
  const { writes, names, maps } = setUp(t, [configMap("bank", "OLD"), configMap("fine", "ROOTS")]);
  names.push("fine");
  await until("both are written", () => writes.length === 2);
  assert.deepEqual(writes, [
    ["POST", "/api/v1/namespaces/shop/configmaps", MADE],
    ["PATCH", "/api/v1/namespaces/bank/configmaps/istio-ca-root-cert", { data: { "root-cert.pem": "ROOTS" } }],
  ]);
  await maps.close();
  assert.equal(writes.length, 2);
});

test("only this name is asked for, and a replica that may not write does not", async (t) => {
  const { api, maps, writes, resign } = setUp(t, []);
  resign();
  await until("it is watched", () => api.watches.length === 1);
  maps.refresh();
  await maps.close();
  assert.deepEqual(writes, []);
  assert.ok(api.asked.every((path) => path.startsWith("/api/v1/configmaps?fieldSelector=metadata.name%3Distio-ca-root-cert&")));
});

test("a namespace that ends holds up no other; any other refusal is told, and tried again", async (t) => {
  const ending = { status: 403, body: { details: { causes: [{ reason: "NamespaceTerminating" }] } } };
  const first = setUp(t, [], (path) => (path.includes("/shop/") ? ending : undefined));
  await until("the next one is written", () => first.writes.length === 2);
  assert.deepEqual(
    first.logger.lines.filter(({ level }) => level === "warn"),
    [],
  );
  const second = setUp(t, [], () => ({ status: 503, body: {} }));
  await until("it is tried again", () => second.writes.length >= 2);
  assert.match(second.maps.problem ?? "", /ConfigMap istio-ca-root-cert\) are not kept up: the API server answers 503 to the roots for/);
  assert.equal(first.maps.problem, undefined);
  assert.match(second.logger.lines.find(({ level }) => level === "warn")?.message ?? "", /writing the roots into namespaces failed/);
});

test("a namespace that does not take them holds up no other, is told, and is told no more when it is gone", async (t) => {
  const immutable = { status: 422, body: { message: "field is immutable when `immutable` is set" } };
  const { writes, maps, names, logger } = setUp(t, [configMap("bank", "OLD"), configMap("shop", "OLD")], (path) =>
    path.includes("/bank/") ? immutable : undefined,
  );
  names.splice(0, names.length, "bank", "shop", "late");
  await until("those after it are written", () => writes.length === 3);
  assert.deepEqual(
    writes.map(([method, path]) => `${method} ${path.split("/")[4]}`),
    ["PATCH bank", "PATCH shop", "POST late"],
  );
  await until("it is told", () => maps.problem?.includes("422 to the roots for namespace `bank`") === true);
  assert.equal(logger.lines.filter(({ level }) => level === "warn").length, 1);
  names.push("later");
  maps.refresh();
  await until("what comes after is written at once", () => writes.some(([, path]) => path.includes("/later/")));
  assert.equal(writes.filter(([, path]) => path.includes("/bank/")).length, 1);
  names.splice(0, 1);
  maps.refresh();
  await until("nothing is told any more", () => maps.problem === undefined);
});
