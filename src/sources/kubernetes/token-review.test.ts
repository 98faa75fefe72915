import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import type { AppError } from "../../core/error.ts";
import { TokenReviewer } from "./token-review.ts";

const AUDIENCE = "istio-ca";
const USER = { username: "system:serviceaccount:shop:payroll", groups: ["system:serviceaccounts", "system:serviceaccounts:shop"] };
const GOOD = { authenticated: true, user: USER, audiences: [AUDIENCE] };

function reviewer(status: unknown, code = 201) {
  const api = new FakeKubernetesApi();
  api.answer = () => ({ status: code, body: status === undefined ? undefined : { status } });
  return { api, verify: () => new TokenReviewer(api).verify("a.b.c", { audience: AUDIENCE }) };
}

test("a token that the API server vouches for is its service account's, and the audience is asked for", async () => {
  const { api, verify } = reviewer(GOOD);
  assert.deepEqual(await verify(), { namespace: "shop", name: "payroll" });
  assert.deepEqual(api.asked, ["/apis/authentication.k8s.io/v1/tokenreviews"]);
  assert.deepEqual(api.bodies, [
    { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token: "a.b.c", audiences: [AUDIENCE] } },
  ]);
});

const EXTRA = {
  "authentication.kubernetes.io/pod-name": ["payroll-1"],
  "authentication.kubernetes.io/pod-uid": ["0a-1b"],
  "authentication.kubernetes.io/node-name": ["node-1"],
};

test("a token that is bound to a pod says so, with its node where the cluster tells it", async () => {
  const account = { namespace: "shop", name: "payroll" };
  const verified = (extra: unknown) => reviewer({ ...GOOD, user: { ...USER, extra } }).verify();
  assert.deepEqual(await verified(EXTRA), { ...account, pod: { name: "payroll-1", uid: "0a-1b", node: "node-1" } });
  const { "authentication.kubernetes.io/node-name": _, ...older } = EXTRA;
  assert.deepEqual(await verified(older), { ...account, pod: { name: "payroll-1", uid: "0a-1b" } });
  for (const odd of [
    {},
    "x",
    { ...EXTRA, "authentication.kubernetes.io/pod-uid": ["a", "b"] },
    { ...EXTRA, "authentication.kubernetes.io/pod-name": "payroll-1" },
  ])
    assert.deepEqual(await verified(odd), account);
});

for (const [what, status, reason] of [
  ["is not authenticated", { ...GOOD, authenticated: false }, /does not vouch/],
  ["is not said to be authenticated", { user: USER, audiences: [AUDIENCE] }, /does not vouch/],
  ["has no user", { authenticated: true, audiences: [AUDIENCE] }, /does not vouch/],
  ["is for another audience", { ...GOOD, audiences: ["other"] }, /another audience/],
  ["is for no audience", { ...GOOD, audiences: undefined }, /another audience/],
  ["is a person's", { ...GOOD, user: { username: "jane", groups: ["system:serviceaccounts"] } }, /no service account/],
  ["is of an account by its name alone", { ...GOOD, user: { ...USER, groups: ["system:authenticated"] } }, /no service account/],
  ["has a name of three parts", { ...GOOD, user: { ...USER, username: "system:serviceaccount:shop" } }, /no service account/],
  ["has a name of five parts", { ...GOOD, user: { ...USER, username: "system:serviceaccount:shop:payroll:x" } }, /no service account/],
  [
    "has a name that would be another SPIFFE ID",
    { ...GOOD, user: { ...USER, username: "system:serviceaccount:shop:a/sa/b" } },
    /no service account/,
  ],
  ["has an empty namespace", { ...GOOD, user: { ...USER, username: "system:serviceaccount::payroll" } }, /no service account/],
  ["comes back without a status", undefined, /does not vouch/],
] as const) {
  test(`a token that ${what} is refused`, async () => {
    await assert.rejects(reviewer(status).verify(), (error: AppError) => error.code === "unauthenticated" && reason.test(error.message));
  });
}

test("an API server that does not review is unavailable: nobody is let in, and nobody is called a liar", async () => {
  await assert.rejects(reviewer(GOOD, 403).verify(), { code: "unavailable" });
  await assert.rejects(reviewer(GOOD, 500).verify(), { code: "unavailable" });
});

test("a token of no sensible length is not sent on", async () => {
  const { api } = reviewer(GOOD);
  await assert.rejects(new TokenReviewer(api).verify("x".repeat(20_000), { audience: AUDIENCE }), { code: "unauthenticated" });
  assert.deepEqual(api.asked, []);
});
