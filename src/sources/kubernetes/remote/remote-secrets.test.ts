import assert from "node:assert/strict";
import { test } from "node:test";
import { AppError } from "../../../core/error.ts";
import { readObject } from "../api-objects.ts";
import { namedClusters } from "./remote-secrets.ts";

function secret(
  name: string,
  keys: readonly string[],
  more: { readonly age?: number; readonly annotations?: Record<string, string> } = {},
) {
  const creationTimestamp = new Date(Date.UTC(2026, 0, 30 - (more.age ?? 0))).toISOString();
  const metadata = { name, namespace: "istio-system", resourceVersion: "1", creationTimestamp, annotations: more.annotations ?? {} };
  const data = Object.fromEntries(keys.map((key) => [key, Buffer.from("{}").toString("base64")]));
  return readObject({ metadata, data }, "Secret", "v1");
}

function told(...secrets: readonly ReturnType<typeof secret>[]): readonly string[] {
  return namedClusters(secrets, "east").diagnostics.map(({ message, place }) => `${place.file}: ${message}`);
}

test("a Secret names a cluster by each of its keys, and a kubeconfig that cannot be taken is told by its Secret", () => {
  const { clusters, diagnostics } = namedClusters([secret("two", ["west", "north"])], "east");
  assert.deepEqual([...clusters.keys()], ["north", "west"]);
  assert.ok([...clusters.values()].every(({ kubeconfig }) => kubeconfig instanceof AppError));
  assert.deepEqual(
    diagnostics.map(({ code, place }) => `${code} ${place.file}`),
    ["GAR0360 Secret istio-system/two", "GAR0360 Secret istio-system/two"],
  );
});

test("of two Secrets that name one cluster the older holds, whatever it holds", () => {
  const [young, old] = [secret("a", ["west"]), secret("z", ["west"], { age: 2 })];
  assert.equal(namedClusters([young, old], "east").clusters.get("west")?.secret, "istio-system/z");
  assert.match(
    told(young, old).join("\n"),
    /^Secret istio-system\/a: cluster `west` is not taken in: Secret `istio-system\/z` names it already$/m,
  );
});

test("nobody is taken in by this cluster's own name", () => {
  assert.deepEqual([...namedClusters([secret("a", ["east"])], "east").clusters.keys()], []);
  assert.match(told(secret("a", ["east"])).join(), /it is this cluster's own name/);
});

test("no more than 32 are", () => {
  const names = Array.from({ length: 33 }, (_, index) => `c${String(index).padStart(2, "0")}`);
  assert.equal(namedClusters([secret("many", names)], "east").clusters.size, 32);
  assert.match(told(secret("many", names)).join("\n"), /cluster `c32` is not taken in: there are more than 32/);
});

test("a restriction that cannot be read makes the cluster one that is not taken in", () => {
  const { clusters } = namedClusters([secret("a", ["west"], { annotations: { "garrison.dev/namespaces": "shop, */*" } })], "east");
  const west = clusters.get("west");
  assert.match(west?.kubeconfig instanceof AppError ? west.kubeconfig.message : "", /`\*\/\*` in the annotation/);
});
