import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeKubernetesApi } from "../../test/fakes/fake-kubernetes-api.ts";
import { namespacesOf, readRemoteSecret, remoteSecret } from "./remote-secret.ts";

const made = (name: string, namespaces: readonly string[] = []) =>
  remoteSecret({ name, server: "https://west", reader: { token: "t", ca: "c" }, namespace: "istio-system", namespaces });

/** A control plane's cluster with one Secret, whatever it is asked for. */
function homeWith(annotations: Readonly<Record<string, string>>, keys: readonly string[]): FakeKubernetesApi {
  const home = new FakeKubernetesApi();
  const metadata = { name: "istio-remote-secret-west", namespace: "istio-system", annotations };
  home.answer = () => ({ status: 200, body: { metadata, data: Object.fromEntries(keys.map((key) => [key, ""])) } });
  return home;
}

test("clusters whose names differ only in what no object's name can have would have one Secret", () => {
  assert.equal(made("a_b.C").metadata.name, made("a-b.c").metadata.name);
});

describe("the Secret under a cluster's name", () => {
  const NAMED = { "networking.istio.io/cluster": "west" };

  test("is its own where it names it, and none where there is none", async () => {
    for (const [annotations, keys] of [
      [NAMED, ["west"]],
      [{}, ["west"]],
      [NAMED, []],
    ] as const) {
      const home = homeWith(annotations, keys);
      assert.equal((await readRemoteSecret({ home, name: "west", namespace: "istio-system" }))?.metadata.name, "istio-remote-secret-west");
      assert.deepEqual(home.asked, ["/api/v1/namespaces/istio-system/secrets/istio-remote-secret-west"]);
    }
    assert.equal(await readRemoteSecret({ home: new FakeKubernetesApi(), name: "west", namespace: "istio-system" }), undefined);
  });

  for (const [what, annotations, keys] of [
    ["names another", { "networking.istio.io/cluster": "West" }, ["West"]],
    ["has another's kubeconfig", {}, ["West"]],
    ["has another's kubeconfig besides", NAMED, ["west", "north"]],
  ] as const)
    test(`is refused where it ${what}: whoever takes that out would take another cluster out`, async () => {
      const asked = readRemoteSecret({ home: homeWith(annotations, keys), name: "west", namespace: "istio-system" });
      await assert.rejects(asked, {
        code: "already-exists",
        message: /^the Secret for cluster `west` names cluster `(West|north)`$/,
        where: "Secret istio-system/istio-remote-secret-west",
      });
    });
});

test("the namespaces that a cluster may speak for are read as they were written", () => {
  for (const namespaces of [[], ["shop"], ["shop", "bank"]]) assert.deepEqual(namespacesOf(made("west", namespaces)), namespaces);
});
