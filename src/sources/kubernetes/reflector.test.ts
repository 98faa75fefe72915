import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { RecordingLogger } from "../../../test/fakes/recording-logger.ts";
import { AppError } from "../../core/error.ts";
import { Reflector } from "./reflector.ts";
import type { WatchedKind } from "./watched-kinds.ts";

const KIND: WatchedKind = {
  kind: "AuthorizationPolicy",
  resource: "authorizationpolicies",
  group: "security.istio.io",
  versions: ["v1", "v1beta1"],
  reading: "decoded",
};
const PATH = "/apis/security.istio.io/v1/authorizationpolicies";
const OLD_PATH = "/apis/security.istio.io/v1beta1/authorizationpolicies";

function object(name: string, resourceVersion: string) {
  return { metadata: { name, namespace: "shop", resourceVersion } };
}

function page(items: readonly unknown[], resourceVersion: string, next = "") {
  return { status: 200, body: { metadata: { resourceVersion, continue: next }, items } };
}

/** Only where the server is. */
function isLook(path: string): boolean {
  return path.endsWith("limit=1");
}

function setUp(test: TestContext, api: FakeKubernetesApi) {
  const logger = new RecordingLogger();
  let changes = 0;
  const reflector = new Reflector({
    api,
    kind: KIND,
    logger,
    onChange: () => {
      changes += 1;
    },
    random: () => 0,
    limits: { firstRetryMs: 2, lastRetryMs: 4, vanishedMs: 30, outageMs: 30 },
  });
  test.after(() => reflector.close());
  const names = (): readonly string[] | undefined => (reflector.objects === undefined ? undefined : [...reflector.objects.keys()].sort());
  const untilNames = (...wanted: readonly string[]) =>
    until(`the copy holds ${wanted.join(", ")}`, () => names()?.join() === wanted.join());
  return { reflector, logger, names, untilNames, changes: () => changes };
}

/** The next watch after `count` others. */
async function watchAfter(api: FakeKubernetesApi, count: number) {
  await until(`there are more than ${count} watches`, () => api.watches.length > count);
  const watch = api.watches[count];
  assert.ok(watch);
  return watch;
}

test("a list is taken whole, page by page, and the watch begins where it was taken", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = (path) => (path.includes("continue=more%2F1") ? page([object("b", "8")], "9") : page([object("a", "7")], "9", "more/1"));
  const { untilNames, changes } = setUp(t, api);
  await untilNames("shop/a", "shop/b");
  assert.equal(changes(), 1);
  const watch = await watchAfter(api, 0);
  assert.match(watch.path, /watch=1&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=9$/);
});

test("events add, change and remove; the kind and its version are put into objects that come without", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = () => page([object("a", "1")], "1");
  const { reflector, untilNames } = setUp(t, api);
  const watch = await watchAfter(api, 0);
  watch.send({ type: "ADDED", object: object("b", "2") }, { type: "DELETED", object: object("a", "3") });
  await untilNames("shop/b");
  watch.send({ type: "MODIFIED", object: { ...object("b", "4"), spec: { action: "DENY" } } });
  await until("b is changed", () => reflector.objects?.get("shop/b")?.metadata.resourceVersion === "4");
  assert.deepEqual(reflector.objects?.get("shop/b")?.body, {
    ...object("b", "4"),
    spec: { action: "DENY" },
    kind: "AuthorizationPolicy",
    apiVersion: "security.istio.io/v1",
  });
});

test("a watch that ends or breaks is resumed where it was, bookmarks included, without another list", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = (path) => page([object("a", "1")], isLook(path) ? "100" : "1");
  const { untilNames } = setUp(t, api);
  const first = await watchAfter(api, 0);
  first.send({ type: "ADDED", object: object("b", "5") });
  await untilNames("shop/a", "shop/b");
  first.end(new AppError("unavailable", "cut"));
  const second = await watchAfter(api, 1);
  assert.match(second.path, /resourceVersion=5$/);
  second.send({ type: "BOOKMARK", object: { metadata: { resourceVersion: "77" } } });
  second.end();
  assert.match((await watchAfter(api, 2)).path, /resourceVersion=77$/);
  assert.equal(api.asked.filter((path) => path.includes("limit=500")).length, 1);
});

for (const [how, expire] of [
  [
    "by an event",
    (api: FakeKubernetesApi) => api.watches[0]?.send({ type: "ERROR", object: { code: 410, message: "too old resource version" } }),
  ],
  [
    "when a watch begins",
    (api: FakeKubernetesApi) => {
      api.watchStatus = (path) => (path.endsWith("resourceVersion=1") ? 410 : 200);
      api.watches[0]?.end(new AppError("unavailable", "cut"));
    },
  ],
] as const) {
  test(`410 Gone ${how} leads to a new list, and what is gone leaves with its last page, not before`, async (t) => {
    const api = new FakeKubernetesApi();
    api.answer = () => page([object("a", "1"), object("b", "1")], "1");
    const { untilNames, names } = setUp(t, api);
    await watchAfter(api, 0);
    const seen: (readonly string[] | undefined)[] = [];
    api.answer = (path) => {
      if (isLook(path)) return page([], "9");
      seen.push(names());
      return path.includes("continue=") ? page([object("d", "8")], "9") : page([object("c", "8")], "9", "more");
    };
    expire(api);
    await untilNames("shop/c", "shop/d");
    assert.deepEqual(seen, [
      ["shop/a", "shop/b"],
      ["shop/a", "shop/b"],
    ]);
  });
}

test("a server that was restored from an older state is listed, since it would say nothing to a watch from a newer one", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = () => page([object("a", "90")], "100");
  const { logger, untilNames } = setUp(t, api);
  const watch = await watchAfter(api, 0);
  api.answer = () => page([object("b", "40")], "50");
  watch.end(new AppError("unavailable", "cut"));
  await untilNames("shop/b");
  assert.match((await watchAfter(api, 1)).path, /resourceVersion=50$/);
  await logger.line("the API server is at an older state than before: everything is listed again");
});

test("after a long outage the server is listed, whatever it has come to meanwhile", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = () => page([object("a", "90")], "100");
  const { logger, untilNames } = setUp(t, api);
  const watch = await watchAfter(api, 0);
  api.answer = () => {
    throw new AppError("unavailable", "away");
  };
  watch.end(new AppError("unavailable", "cut"));
  await logger.line("objects cannot be watched: the last ones seen stay in force");
  const asked = api.asked.length;
  await until("it was away for long", () => api.asked.length > asked + 20);
  api.answer = () => page([object("b", "140")], "150");
  await untilNames("shop/b");
});

test("a resource version that is no number is taken as the server's own", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = () => page([object("a", "x1")], "x1");
  setUp(t, api);
  const watch = await watchAfter(api, 0);
  watch.end(new AppError("unavailable", "cut"));
  assert.match((await watchAfter(api, 1)).path, /resourceVersion=x1$/);
  assert.equal(api.asked.filter((path) => path.includes("limit=500")).length, 1);
});

for (const [what, line] of [
  ["is not JSON", "{"],
  ["has no object", { type: "ADDED" }],
  ["is of an unknown type", { type: "REPLACED", object: object("a", "2") }],
  ["is an error of the server's own", { type: "ERROR", object: { code: 500, message: "internal" } }],
] as const) {
  test(`an event that ${what} leads to a new list: nothing is lost with it`, async (t) => {
    const api = new FakeKubernetesApi();
    api.answer = () => page([object("a", "1")], "1");
    const { untilNames, names } = setUp(t, api);
    const watch = await watchAfter(api, 0);
    api.answer = () => page([object("a", "1"), object("b", "2")], "2");
    watch.send(line);
    assert.deepEqual(names(), ["shop/a"]);
    await untilNames("shop/a", "shop/b");
  });
}

test("a server that is away leaves the copy as it was, and is told of once", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = () => page([object("a", "1")], "1");
  const { untilNames, names, logger } = setUp(t, api);
  const watch = await watchAfter(api, 0);
  await untilNames("shop/a");
  api.answer = () => new AppError("unavailable", "refused");
  api.watchStatus = () => 503;
  watch.end(new AppError("unavailable", "cut"));
  await until("it is tried again and again", () => api.asked.length > 8);
  assert.deepEqual(names(), ["shop/a"]);
  assert.equal(logger.lines.filter(({ level }) => level === "warn").length, 1);
});

test("the older version of a kind is watched where the server lacks the newer", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = (path) => (path.startsWith(OLD_PATH) ? page([object("a", "1")], "1") : { status: 404, body: undefined });
  const { untilNames } = setUp(t, api);
  await untilNames("shop/a");
  assert.ok((await watchAfter(api, 0)).path.startsWith(OLD_PATH));
});

test("a kind that was never installed is empty, and is taken up when it appears", async (t) => {
  const api = new FakeKubernetesApi();
  const { untilNames } = setUp(t, api);
  await untilNames();
  api.answer = (path) => (path.startsWith(PATH) ? page([object("a", "1")], "1") : { status: 404, body: undefined });
  await untilNames("shop/a");
});

test("a kind that vanishes keeps its objects in force for a while: a server that starts does not know it yet", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = () => page([object("a", "1")], "1");
  const { untilNames, names } = setUp(t, api);
  const watch = await watchAfter(api, 0);
  api.answer = () => ({ status: 404, body: undefined });
  api.watchStatus = () => 404;
  const before = api.asked.length;
  watch.end(new AppError("unavailable", "cut"));
  await until("it is asked for again", () => api.asked.length > before + 2);
  assert.deepEqual(names(), ["shop/a"]);
  await untilNames();
});

test("how long a kind was not spoken of, and how often its watch broke, is known; a kind that is not there breaks nothing", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = () => page([object("a", "7")], "9");
  const { reflector, untilNames } = setUp(t, api);
  await untilNames("shop/a");
  const watch = await watchAfter(api, 0);
  assert.deepEqual({ ...reflector.health, silenceMs: 0 }, { kind: "AuthorizationPolicy", restarts: 0, objects: 1, silenceMs: 0 });
  await until("it is silent for a while", () => reflector.health.silenceMs > 50);
  const sent = performance.now();
  watch.send({ type: "ADDED", object: object("b", "10") });
  await untilNames("shop/a", "shop/b");
  assert.ok(reflector.health.silenceMs <= performance.now() - sent);
  watch.send({ type: "ERROR", object: { code: 500, message: "broken" } });
  await until("it has begun anew", () => api.watches.length > 1 && reflector.health.restarts === 1);
});

test("what a restored server gives the same version or generation as what is lost is another object", async (t) => {
  const api = new FakeKubernetesApi();
  const of = (name: string, action: string, resourceVersion: string) => ({
    metadata: { name, namespace: "shop", resourceVersion, uid: "u", generation: 4 },
    spec: { action },
  });
  api.answer = () => page([of("a", "DENY", "7"), of("b", "DENY", "8"), of("c", "DENY", "9")], "9");
  const { reflector, untilNames } = setUp(t, api);
  const watch = await watchAfter(api, 0);
  const meanings = () => ["a", "b", "c"].map((name) => reflector.objects?.get(`shop/${name}`)?.meaning);
  const before = meanings();
  api.answer = () => page([of("a", "ALLOW", "7"), of("b", "ALLOW", "12"), of("c", "DENY", "13")], "20");
  watch.send({ type: "ERROR", object: { code: 410 } });
  await watchAfter(api, 1);
  await untilNames("shop/a", "shop/b", "shop/c");
  assert.deepEqual(
    meanings().map((meaning, index) => meaning === before[index]),
    [false, false, true],
  );
});

test("a list that does not end is none: it is told, and what was seen stays", async (t) => {
  const api = new FakeKubernetesApi();
  api.answer = () => page([object("a", "7")], "9");
  const { logger, names, untilNames } = setUp(t, api);
  await untilNames("shop/a");
  const watch = await watchAfter(api, 0);
  api.answer = () => page([object("b", "8")], "9", "again");
  watch.send({ type: "ERROR", object: { code: 410 } });
  const { fields } = await logger.line("objects cannot be watched: the last ones seen stay in force");
  assert.equal(fields?.reason, "the API server sent a list that does not end");
  assert.deepEqual(names(), ["shop/a"]);
});

for (const [what, body] of [
  ["a list of another kind", { kind: "SecretList", metadata: { resourceVersion: "2" }, items: [object("b", "2")] }],
  ["a list with an object of another kind", { metadata: { resourceVersion: "2" }, items: [{ kind: "Secret", ...object("b", "2") }] }],
  ["a list without a version", { metadata: {}, items: [object("b", "2")] }],
  ["a list whose items are none", { metadata: { resourceVersion: "2" }, items: {} }],
  ["half a list", undefined],
  ["a failure that says that it is well", { kind: "Status", metadata: { resourceVersion: "2" }, status: "Failure" }],
] as const) {
  test(`${what} is told, and what was seen stays`, async (t) => {
    const api = new FakeKubernetesApi();
    api.answer = () => page([object("a", "1")], "1");
    const { names, logger } = setUp(t, api);
    const watch = await watchAfter(api, 0);
    api.answer = () => ({ status: 200, body });
    watch.send({ type: "ERROR", object: { code: 410 } });
    const { fields } = await logger.line("objects cannot be watched: the last ones seen stay in force");
    assert.match(String(fields?.reason), /^the API server sent an? (list|object) that cannot be read$/);
    assert.deepEqual(names(), ["shop/a"]);
  });
}
