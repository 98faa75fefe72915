import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { silentLogger } from "../../core/logger.ts";
import type { ConfigurationSnapshot } from "../snapshot.ts";
import { watchCluster } from "./cluster-source.ts";
import { watchedKinds } from "./watched-kinds.ts";

const CONFIG_MAPS = "/api/v1/namespaces/istio-system/configmaps?fieldSelector=metadata.name%3Distio&";
const POLICIES = "/apis/security.istio.io/v1/authorizationpolicies";

function policy(resourceVersion: string, path: string, field = "paths") {
  const rules = [{ to: [{ operation: { [field]: [path] } }] }];
  return { metadata: { name: "readers", namespace: "shop", resourceVersion, managedFields: [{ manager: "kubectl" }] }, spec: { rules } };
}

function page(items: readonly unknown[]) {
  return { status: 200, body: { metadata: { resourceVersion: "1" }, items } };
}

function setUp(items: readonly unknown[], configMaps: readonly unknown[] = []) {
  const api = new FakeKubernetesApi();
  api.answer = (path) => page(path.startsWith(POLICIES) ? items : path.startsWith(CONFIG_MAPS) ? configMaps : []);
  const snapshots: ConfigurationSnapshot[] = [];
  const open = async (t: TestContext) => {
    const source = await watchCluster({
      api,
      logger: silentLogger,
      kinds: watchedKinds("istio-system"),
      onSnapshot: (snapshot) => void snapshots.push(snapshot),
    });
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

test("what comes, changes and goes while a watch is broken is seen with the next list, and the rest stays the same objects", async (t) => {
  const named = (name: string, version: string, path: string) => ({
    ...policy(version, path),
    metadata: { name, namespace: "shop", resourceVersion: version },
  });
  const items = [named("stays", "1", "/a"), named("changes", "2", "/a"), named("goes", "3", "/a")];
  const { api, snapshots, open, watch } = setUp(items);
  const source = await open(t);
  const stays = source.current.objects.find(({ meta: { name } }) => name === "stays");
  items.splice(1, 2, named("changes", "4", "/b"), named("comes", "5", "/a"));
  const watched = api.watches.length;
  watch()?.send({ type: "ERROR", object: { code: 410 } });
  await until("it is told, and watched again", () => snapshots.length === 2 && api.watches.length > watched);
  assert.deepEqual(
    source.current.statuses.map(({ key }) => key),
    ["changes", "comes", "stays"].map((name) => `AuthorizationPolicy shop/${name}`),
  );
  assert.equal(source.current.objects[2], stays);
  api.watches.at(-1)?.send({ type: "DELETED", object: named("changes", "6", "/b") });
  await until("it is told", () => snapshots.length === 3);
  assert.deepEqual(
    source.current.objects.map(({ meta: { name } }) => name),
    ["comes", "stays"],
  );
});

test("the wait for the first state can be ended", async () => {
  const api = new FakeKubernetesApi();
  api.answer = () => new Error("away");
  const ended = new AbortController();
  const opening = watchCluster({
    api,
    logger: silentLogger,
    kinds: watchedKinds("istio-system"),
    onSnapshot: () => assert.fail(),
    signal: ended.signal,
  });
  ended.abort();
  await assert.rejects(opening, { code: "unavailable" });
});

function configMap(resourceVersion: string, mesh: string) {
  return { metadata: { name: "istio", namespace: "istio-system", resourceVersion }, data: { mesh } };
}

test("the mesh's configuration is the one ConfigMap that is asked for, and decoded as strictly as in a folder", async (t) => {
  const { api, snapshots, open } = setUp([], [configMap("1", "pathNormalization: { normalization: NONE }\n")]);
  const source = await open(t);
  const pathsOf = (): readonly unknown[] =>
    source.current.objects.map((object) => object.kind === "ConfigMap" && object.mesh?.pathNormalization);
  assert.deepEqual(pathsOf(), ["NONE"]);
  assert.deepEqual(
    api.asked.filter((path) => path.includes("configmaps") && !path.startsWith(CONFIG_MAPS)),
    [],
  );
  const watch = api.watches.find(({ path }) => path.startsWith(CONFIG_MAPS));
  watch?.send({ type: "MODIFIED", object: configMap("2", "pathNormalisation: {}\n") });
  await until("it is told", () => snapshots.length === 2);
  assert.deepEqual(pathsOf(), ["NONE"]);
  assert.match(source.current.diagnostics[0]?.message ?? "", /^unknown field `pathNormalisation`$/);
  assert.equal(source.current.diagnostics[0]?.place.file, "ConfigMap istio-system/istio");
});

test("a pod's annotation says whom its proxy trusts; one that cannot be read trusts nobody, and is told", async (t) => {
  const { api, open } = setUp([]);
  const answer = api.answer;
  const pod = (name: string, config: string) => ({
    metadata: { name, namespace: "shop", resourceVersion: "1", annotations: { "proxy.istio.io/config": config } },
    spec: { serviceAccountName: "a" },
    status: { podIP: "10.0.0.1" },
  });
  const pods = [
    pod("good", "concurrency: 2\ngatewayTopology: { numTrustedProxies: 3 }"),
    pod("wrong", "gatewayTopology: { numTrustedProxy: 3 }"),
  ];
  api.answer = (path) => (path.startsWith("/api/v1/pods") ? page(pods) : answer(path));
  const source = await open(t);
  assert.deepEqual(
    source.current.objects.map((object) => object.kind === "Pod" && [object.meta.name, object.proxyConfig?.numTrustedProxies]),
    [
      ["good", 3],
      ["wrong", 0],
    ],
  );
  assert.deepEqual(
    source.current.diagnostics.map(({ code, place }) => `${code} ${place.file}`),
    ["GAR0003 Pod shop/wrong"],
  );
});

test("an annotation that would take long to read is not read: it trusts nobody, and is told", async (t) => {
  const { api, open } = setUp([]);
  const answer = api.answer;
  const config = `gatewayTopology: { numTrustedProxies: 3 } # ${"x".repeat(8_192)}`;
  const metadata = { name: "long", namespace: "shop", resourceVersion: "1", annotations: { "proxy.istio.io/config": config } };
  api.answer = (path) => (path.startsWith("/api/v1/pods") ? page([{ metadata, spec: {}, status: { podIP: "10.0.0.1" } }]) : answer(path));
  const source = await open(t);
  const [pod] = source.current.objects;
  assert.equal(pod?.kind === "Pod" && pod.proxyConfig?.numTrustedProxies, 0);
  const [{ message, place } = { message: "", place: { file: "" } }] = source.current.diagnostics;
  assert.match(`${place.file}: ${message}`, /^Pod shop\/long: `proxy\.istio\.io\/config` is longer than 8192 characters$/);
});

function withStatus(resourceVersion: string, more: { readonly generation?: number; readonly labels?: Record<string, string> } = {}) {
  const { spec, metadata } = policy(resourceVersion, "/a");
  const { generation = 1, labels = {} } = more;
  const status = { conditions: [{ type: "Accepted", message: resourceVersion }] };
  return { metadata: { ...metadata, uid: "u", generation, labels }, spec, status };
}

test("a status that somebody writes is no change of the configuration; labels and a new generation are", async (t) => {
  const { snapshots, open, watch } = setUp([withStatus("1")]);
  const source = await open(t);
  const [first] = source.current.objects;
  watch()?.send({ type: "MODIFIED", object: withStatus("2") }, { type: "MODIFIED", object: withStatus("3", { labels: { a: "b" } }) });
  await until("the label is told", () => snapshots.length === 2);
  assert.notEqual(source.current.objects[0], first);
  const labelled = source.current.objects[0];
  watch()?.send({ type: "MODIFIED", object: withStatus("4", { labels: { a: "b" } }) });
  watch()?.send({ type: "MODIFIED", object: withStatus("5", { labels: { a: "b" }, generation: 2 }) });
  await until("the new generation is told", () => snapshots.length === 3);
  assert.notEqual(source.current.objects[0], labelled);
});

function secret(name: string, ca: string) {
  return { metadata: { name, namespace: "shop", resourceVersion: "1" }, data: { "ca.crt": Buffer.from(ca).toString("base64") } };
}

const CA = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

test("only Secrets that are named are asked for, each by its name, and one waits for the Secret with its CA", async (t) => {
  const { api, open } = setUp([]);
  const source = await open(t);
  const answer = api.answer;
  let apart: ReturnType<typeof page> | Error = new Error("not yet");
  api.answer = (path) => {
    if (path.includes("metadata.name%3Dweb&")) return page([secret("web", CA)]);
    return path.includes("metadata.name%3Dweb-cacert&") ? apart : answer(path);
  };
  const known = () => source.current.objects.map(({ kind, meta }) => `${kind} ${meta.name}`);
  source.wantSecrets(new Set(["shop/web", "shop/web-cacert"]));
  await until("it is told", () => source.current.diagnostics.some(({ code }) => code === "GAR0220"));
  assert.deepEqual(known(), []);
  apart = page([secret("web-cacert", CA)]);
  await until("both are there", () => known().join() === "Secret web,Secret web-cacert");
  assert.deepEqual(source.current.diagnostics, []);
  source.wantSecrets(new Set(["shop/web"]));
  await until("one is gone", () => known().join() === "Secret web");
  const asked = api.asked.filter((path) => path.includes("/secrets"));
  assert.ok(asked.every((path) => path.startsWith("/api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Dweb")));
});

test("a namespace that names more Secrets than are watched leaves those of others, and closing waits for all that were given up", async (t) => {
  const { api, open } = setUp([]);
  const source = await open(t);
  const many = Array.from({ length: 600 }, (_, index) => `aaa/s${index}`);
  source.wantSecrets(new Set([...many, "shop/web"]));
  await until("that of the other is asked for", () => api.asked.some((path) => path.startsWith("/api/v1/namespaces/shop/secrets")));
  await until("what is left out is told", () =>
    source.current.diagnostics.some(({ message }) => message.includes("more than 500 are named")),
  );
  source.wantSecrets(new Set());
  await source.close();
  const asked = api.asked.length;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(api.asked.length, asked);
});
