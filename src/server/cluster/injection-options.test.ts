import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { TokenReviewer } from "../../sources/kubernetes/token-review.ts";
import { injectionOptions } from "./injection-options.ts";
import { DEFAULT_CLUSTER_PLACE } from "./place.ts";

const OWN = { image: "i", controlPlane: "garrison.garrison-system.svc:15012", trustDomain: "cluster.local", cluster: "east" };
const reviewer = new TokenReviewer(new FakeKubernetesApi());

function optionsWith(controlPlane?: { readonly host: string; readonly port: number }) {
  const others = { namespace: "istio-system", timeoutMs: 0, ...(controlPlane === undefined ? {} : { controlPlane }) };
  const namespaces = new Map([
    ["west", undefined],
    ["narrow", new Set(["bank"])],
  ]);
  const voucher = (name: string) => (namespaces.has(name) ? { reviewer, namespaces: namespaces.get(name) } : undefined);
  return injectionOptions(OWN, { ...DEFAULT_CLUSTER_PLACE, name: "east", others }, { voucher });
}

const optionsOf = optionsWith({ host: "mesh.example.org", port: 15012 });

test("pods of the own cluster find the control plane in it, by whichever path it asks", () => {
  assert.equal(optionsOf({ namespace: "shop" }), OWN);
  assert.equal(optionsOf({ namespace: "shop", cluster: "east" }), OWN);
});

test("pods of another cluster find it where it was said to be, and say where they are", () => {
  const expected = { ...OWN, cluster: "west", controlPlane: "mesh.example.org:15012" };
  assert.deepEqual(optionsOf({ namespace: "shop", cluster: "west" }), expected);
  assert.equal(optionsOf({ namespace: "bank", cluster: "narrow" }).cluster, "narrow");
});

test("pods that could never have a certificate are not made", () => {
  const refused = (cluster: string, message: RegExp, options = optionsOf) =>
    assert.throws(() => options({ namespace: "shop", cluster }), { code: "invalid-configuration", message });
  refused("north", /no cluster `north`/);
  refused("narrow", /`narrow` does not speak for namespace `shop`/);
  refused("west", /does not know where pods of other clusters find it/, optionsWith());
});
