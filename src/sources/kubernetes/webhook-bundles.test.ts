import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { silentLogger } from "../../core/logger.ts";
import { WebhookBundles } from "./webhook-bundles.ts";

const BASE = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

function configuration(...caBundles: readonly (string | undefined)[]) {
  const webhooks = caBundles.map((caBundle, index) => ({
    name: `w${index}`,
    clientConfig: { url: "u", ...(caBundle === undefined ? {} : { caBundle }) },
  }));
  return { metadata: { name: "garrison", resourceVersion: "1" }, webhooks };
}

function setUp(t: TestContext, items: readonly unknown[], mayWrite = () => true) {
  const api = new FakeKubernetesApi();
  const patches: (readonly [path: string, patch: unknown])[] = [];
  let roots = "ROOTS";
  api.answer = (path, method, body) => {
    if (method !== "PATCH") return { status: 200, body: { metadata: { resourceVersion: "1" }, items: path.startsWith(BASE) ? items : [] } };
    patches.push([path, body]);
    return { status: 200, body: {} };
  };
  const bundles = new WebhookBundles({ api, logger: silentLogger, name: "garrison", roots: () => roots, mayWrite });
  t.after(() => bundles.close());
  const changeRoots = (text: string): void => {
    roots = text;
    bundles.refresh();
  };
  return { api, patches, changeRoots };
}

const bundleOf = (roots: string): string => Buffer.from(roots).toString("base64");

function patch(index: number, roots: string) {
  return [
    { op: "test", path: `/webhooks/${index}/name`, value: `w${index}` },
    { op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value: bundleOf(roots) },
  ];
}

test("the bundle is written where it is missing or another, and only there", async (t) => {
  const { patches } = setUp(t, [configuration(undefined, bundleOf("ROOTS"), "b3RoZXI=")]);
  await until("it is written", () => patches.length === 1);
  assert.deepEqual(patches, [[`${BASE}/garrison`, [...patch(0, "ROOTS"), ...patch(2, "ROOTS")]]]);
});

test("only our own configurations are asked for", async (t) => {
  const { api } = setUp(t, []);
  await until("both kinds are watched", () => api.watches.length === 2);
  assert.ok(api.asked.every((path) => path.includes("fieldSelector=metadata.name%3Dgarrison&")));
});

test("other roots are written when they come, and nothing by a replica that may not", async (t) => {
  const { patches, changeRoots } = setUp(t, [configuration(bundleOf("ROOTS"))]);
  changeRoots("NEW");
  await until("they are written", () => patches.length === 1);
  assert.deepEqual(patches[0]?.[1], patch(0, "NEW"));
  const idle = setUp(t, [configuration(undefined)], () => false);
  await until("it has looked", () => idle.api.watches.length === 2);
  assert.deepEqual(idle.patches, []);
});

test("what may not be read or written is told as long as it is so", async (t) => {
  const { api, patches } = setUp(t, [configuration(undefined)]);
  await until("it is written", () => patches.length === 1);
  const refused = new FakeKubernetesApi();
  refused.answer = () => ({ status: 403, body: { message: "you may not" } });
  const bundles = new WebhookBundles({ api: refused, logger: silentLogger, name: "garrison", roots: () => "", mayWrite: () => true });
  t.after(() => bundles.close());
  await until("it is told", () => bundles.problem !== undefined);
  assert.match(bundles.problem ?? "", /`caBundle`\) are not kept up: the API server answers 403: you may not$/);
  refused.answer = api.answer;
  await until("it is well", () => bundles.problem === undefined);
});
