import assert from "node:assert/strict";
import { test } from "node:test";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { registrarAccounts } from "./start.ts";

test("a registration authority is of the mesh's own trust domain, as one of another could not ask, and its namesake here would be kept out", () => {
  const settings = { trustDomain: parseTrustDomain("east.example"), rootNamespace: "istio-system", clusterDomain: "cluster.local" };
  assert.deepEqual(registrarAccounts(["spiffe://east.example/ns/infra/sa/edge"], settings), new Set(["infra/edge"]));
  assert.throws(() => registrarAccounts(["spiffe://west.example/ns/infra/sa/edge"], settings), {
    code: "invalid-argument",
    message: "the registration authority `spiffe://west.example/ns/infra/sa/edge` is not of the trust domain `east.example`",
  });
});
