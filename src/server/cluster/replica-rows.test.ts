import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { LedgerRows, ShownCertificate } from "../../ca/http.ts";
import { LedgerResponseSchema } from "../../gen/garrison/v1/replica_pb.js";
import { readRows, writeRows } from "./replica-rows.ts";

const CERTIFICATE: ShownCertificate = {
  serial: "0a",
  identity: "spiffe://cluster.local/ns/shop/sa/pay",
  caller: "token",
  notBefore: 1,
  notAfter: 2,
  recordedAt: 3,
  state: "issued",
};
const NONE: LedgerRows = { certificates: [], jwtSvids: [], refusals: [] };

/** As another replica reads it. */
const told = (rows: LedgerRows): LedgerRows => readRows(fromBinary(LedgerResponseSchema, toBinary(LedgerResponseSchema, writeRows(rows))));

test("rows are read as they were written, with what they have and without what they lack", () => {
  const whole: ShownCertificate = {
    ...CERTIFICATE,
    sha256: "ff",
    leaf: 0,
    keyId: "aa",
    authority: "bb",
    revoked: { at: 4, reason: "keyCompromise" },
  };
  const rows: LedgerRows = {
    certificates: [whole, CERTIFICATE],
    jwtSvids: [{ id: "1", identity: CERTIFICATE.identity, audiences: ["a", "b"], issuedAt: 5, expiresAt: 6, sha256: "" }],
    refusals: [{ recordedAt: 7, identity: "", caller: "nobody", reason: "no proof", kind: "jwt-svid" }],
  };
  assert.deepEqual(told(rows), rows);
});

test("what only another version can have said is no answer", () => {
  const state = "archived" as ShownCertificate["state"];
  assert.throws(() => told({ ...NONE, certificates: [{ ...CERTIFICATE, state }] }), { code: "unsupported" });
});
