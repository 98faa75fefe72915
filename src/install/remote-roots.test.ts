import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeKubernetesApi } from "../../test/fakes/fake-kubernetes-api.ts";
import { forgetJoined, type JoiningCluster, joinMissing } from "./remote-roots.ts";

const [OWN, OTHER] = ["the control plane's roots", "istiod's roots"];
const WEBHOOKS = "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/garrison-remote";

interface World {
  /** What is in the map of each namespace that there is; undefined: there is none. */
  readonly roots: Readonly<Record<string, string | undefined>>;
  /** Without webhooks there are none. */
  readonly bundle?: string;
  readonly home?: string | undefined;
}

/** A cluster, and the paths that were deleted in it. */
function cluster({ roots, bundle, home = OWN }: World, namespaces: readonly string[]) {
  const [api, own] = [new FakeKubernetesApi(), new FakeKubernetesApi()];
  const deleted: string[] = [];
  const mapOf = (content: string | undefined) =>
    content === undefined ? { status: 404, body: undefined } : { status: 200, body: { data: { "root-cert.pem": content } } };
  own.answer = () => mapOf(home === "" ? undefined : home);
  api.answer = (path, method) => {
    if (method === "DELETE") deleted.push(path);
    const [, namespace = "", rest] = /^\/api\/v1\/namespaces\/([^/]+)(\/configmaps\/istio-ca-root-cert)?$/.exec(path) ?? [];
    if (rest !== undefined) return mapOf(roots[namespace]);
    if (namespace !== "") return { status: namespace in roots ? 200 : 404, body: undefined };
    if (bundle === undefined || !path.endsWith(WEBHOOKS)) return { status: 404, body: undefined };
    const caBundle = Buffer.from(bundle).toString("base64");
    return { status: 200, body: { webhooks: [{ name: "inject", clientConfig: bundle === "" ? {} : { caBundle } }] } };
  };
  const joining: JoiningCluster = { api, home: own, homeNamespace: "istio-system", namespaces };
  return { joining, deleted };
}

describe("a cluster is taken in once the control plane's own roots are in it", () => {
  const CASES: readonly (readonly [name: string, world: World, namespaces: readonly string[], missing: RegExp | undefined])[] = [
    ["in its namespace", { roots: { mesh: OWN } }, ["mesh"], undefined],
    ["and in its webhooks", { roots: { mesh: OWN }, bundle: OWN }, ["mesh"], undefined],
    ["in each namespace that it speaks for", { roots: { shop: OWN, bank: OWN } }, ["shop", "bank"], undefined],
    ["and not in one that is not there yet", { roots: { shop: OWN } }, ["shop", "later"], undefined],
    ["none are there", { roots: { mesh: undefined } }, ["mesh"], /into namespace mesh; see `garrison clusters`/],
    ["another control plane's are there", { roots: { mesh: OTHER } }, ["mesh"], /into namespace mesh;/],
    ["one namespace has none", { roots: { shop: OWN, bank: undefined } }, ["shop", "bank"], /into namespace bank;/],
    ["a webhook has none", { roots: { mesh: OWN }, bundle: "" }, ["mesh"], /into the webhook inject$/],
    ["a webhook has another's", { roots: { mesh: OWN }, bundle: OTHER }, ["mesh"], /into the webhook inject$/],
    ["no such namespace is there", { roots: {} }, ["shop"], /no namespace that the cluster speaks for: shop$/],
    ["they are Kubernetes' own", { roots: { "kube-system": OWN } }, ["kube-system"], /speaks for: kube-system$/],
    ["the control plane has never written", { roots: { mesh: OWN }, home: "" }, ["mesh"], /of its own cluster: does it run\?$/],
  ];
  for (const [name, world, namespaces, missing] of CASES)
    test(missing === undefined ? name : `not yet: ${name}`, async () => {
      assert.match((await joinMissing(cluster(world, namespaces).joining)) ?? "nothing", missing ?? /^nothing$/);
    });
});

test("what showed that it was taken in goes, and another control plane's roots stay", async () => {
  const { joining, deleted } = cluster({ roots: { shop: OWN, bank: OTHER, later: undefined } }, ["shop", "bank", "later"]);
  await forgetJoined(joining);
  assert.deepEqual(deleted, ["/api/v1/namespaces/shop/configmaps/istio-ca-root-cert"]);
});
