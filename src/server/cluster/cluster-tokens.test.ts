import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import type { KubernetesApi } from "../../sources/kubernetes/api.ts";
import { TokenReviewer } from "../../sources/kubernetes/token-review.ts";
import { ClusterTokens } from "./cluster-tokens.ts";

const AUDIENCE = "istio-ca";

const EXTRA = { "authentication.kubernetes.io/pod-name": ["proxy"], "authentication.kubernetes.io/pod-uid": ["u-1"] };
const POD = { name: "proxy", uid: "u-1" };

/** An API server that vouches for one token, as of the account `shop/NAME`. */
function server(token: string, name: string): FakeKubernetesApi {
  const api = new FakeKubernetesApi();
  api.answer = (_path, _method, body) => {
    const { spec } = body as { readonly spec: { readonly token: string } };
    const user = { username: `system:serviceaccount:shop:${name}`, groups: ["system:serviceaccounts"], extra: EXTRA };
    return { status: 201, body: { status: spec.token === token ? { authenticated: true, user, audiences: [AUDIENCE] } : {} } };
  };
  return api;
}

function tokens(others: Readonly<Record<string, { readonly api: KubernetesApi; readonly namespaces?: ReadonlySet<string> }>>) {
  const voucher = (name: string) => {
    const found = others[name];
    return found === undefined ? undefined : { reviewer: new TokenReviewer(found.api), namespaces: found.namespaces };
  };
  const verifier = new ClusterTokens({
    name: "east",
    own: new TokenReviewer(server("of-east", "own")),
    others: { voucher },
    never: new Set(["shop/registrar"]),
  });
  return (token: string, cluster?: string) => verifier.verify(token, { audience: AUDIENCE, ...(cluster === undefined ? {} : { cluster }) });
}

test("the cluster that is named is asked, the own one where none is, and its answer says who vouched, of no pod of another cluster", async () => {
  const verify = tokens({ west: { api: server("of-west", "pay") } });
  assert.deepEqual(await verify("of-east"), { namespace: "shop", name: "own", pod: POD });
  assert.deepEqual(await verify("of-east", "east"), { namespace: "shop", name: "own", pod: POD });
  assert.deepEqual(await verify("of-west", "west"), { namespace: "shop", name: "pay", cluster: "west" });
});

test("a name that is not the issuer's makes a token nobody's, and an unknown one is asked of nobody", async () => {
  const west = server("of-west", "pay");
  const verify = tokens({ west: { api: west } });
  for (const [token, cluster] of [
    ["of-east", "west"],
    ["of-west", "east"],
    ["of-west", undefined],
  ] as const)
    await assert.rejects(verify(token, cluster), { code: "unauthenticated" });
  assert.equal(west.asked.length, 1);
  await assert.rejects(verify("of-west", "north"), {
    code: "unauthenticated",
    message: "the token was refused: there is no cluster `north`",
  });
  assert.equal(west.asked.length, 1);
});

test("a cluster that speaks for some namespaces vouches for nobody else", async () => {
  const verify = tokens({ west: { api: server("of-west", "pay"), namespaces: new Set(["bank"]) } });
  await assert.rejects(verify("of-west", "west"), { code: "unauthenticated", message: /`west` does not speak for namespace `shop`/ });
});

test("a cluster that does not answer holds up sixteen callers, and sends the others away; the own one goes on", async () => {
  const hanging = Promise.withResolvers<never>();
  const api: KubernetesApi = { call: () => hanging.promise, watch: () => hanging.promise };
  const verify = tokens({ west: { api } });
  const waiting = Array.from({ length: 16 }, () => verify("any", "west"));
  await assert.rejects(verify("any", "west"), { code: "resource-exhausted", retryAfterMs: 1_000 });
  assert.equal((await verify("of-east")).name, "own");
  hanging.reject(new Error("away"));
  const outcomes = await Promise.allSettled(waiting);
  assert.ok(outcomes.every(({ status }) => status === "rejected"));
  await assert.rejects(verify("any", "west"), /away/);
});

test("no other cluster vouches for a registration authority, who could then be anybody; the own one does", async () => {
  const registrar = server("of-west", "registrar");
  const verify = tokens({ west: { api: registrar } });
  await assert.rejects(verify("of-west", "west"), { code: "unauthenticated", message: /no other cluster speaks for .*`shop\/registrar`/ });
  const own = new ClusterTokens({
    name: "east",
    own: new TokenReviewer(registrar),
    others: undefined,
    never: new Set(["shop/registrar"]),
  });
  assert.equal((await own.verify("of-west", { audience: AUDIENCE })).name, "registrar");
});
