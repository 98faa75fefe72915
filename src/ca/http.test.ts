import assert from "node:assert/strict";
import { test } from "node:test";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { parseLedgerQuery } from "./http.ts";

const parse = (query: string) => parseLedgerQuery(new URLSearchParams(query), "cluster.local" as TrustDomain);

test("a question to the ledger is understood as a whole: what only a newer version can ask is refused, not passed over", () => {
  assert.deepEqual(parse("identity=shop%2Fpay&limit=3").filter, { identity: "spiffe://cluster.local/ns/shop/sa/pay", limit: 3 });
  assert.throws(() => parse("limit=3&colour=red"), { code: "invalid-argument", message: "the ledger cannot be asked by `colour`" });
});
