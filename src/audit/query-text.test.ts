import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NOON } from "../../test/fixture/audit-store.ts";
import { AppError } from "../core/error.ts";
import type { AuditFilter } from "./filter.ts";
import { AUDIT_FLAGS, parseAuditFilter } from "./query-text.ts";

const UNDERSTOOD: readonly (readonly [Record<string, string | undefined>, AuditFilter])[] = [
  [{}, {}],
  [{ since: undefined }, {}],
  [{ since: "10m" }, { since: NOON - 600_000 }],
  [
    { since: "90s", until: "500ms" },
    { since: NOON - 90_000, until: NOON - 500 },
  ],
  [{ since: "2h" }, { since: NOON - 7_200_000 }],
  [{ since: "7d" }, { since: NOON - 604_800_000 }],
  [{ since: "2026-11-22T10:00:00Z" }, { since: NOON }],
  [{ since: "2026-11-22t12:00:00.5+02:00" }, { since: NOON + 500 }],
  [{ since: "2026-11-22 10:00" }, { since: NOON }],
  [{ until: "2026-11-22" }, { until: NOON - 36_000_000 }],
  [{ workload: "photo-ns/photo-backend" }, { workload: "photo-ns/photo-backend" }],
  [{ workload: "photo-ns/photo-backend@west-1.example" }, { workload: "photo-ns/photo-backend@west-1.example" }],
  [{ service: "photo-ns/photo-backend" }, { service: "photo-ns/photo-backend" }],
  [{ caller: "photo-ns/photo-frontend" }, { caller: { kind: "service-account", namespace: "photo-ns", name: "photo-frontend" } }],
  [{ caller: "spiffe://cluster.local/ns/a/sa/b" }, { caller: { kind: "spiffe-id", id: "spiffe://cluster.local/ns/a/sa/b" } }],
  [{ caller: "none" }, { caller: { kind: "none" } }],
  [{ effect: "deny" }, { effect: "deny" }],
  [{ "would-deny": "true" }, { wouldDeny: true }],
  [{ method: "GET" }, { method: "GET" }],
  [{ path: "/photos" }, { path: { kind: "exact", value: "/photos" } }],
  [{ path: "/photos*" }, { path: { kind: "prefix", value: "/photos" } }],
  [{ path: "*" }, { path: { kind: "prefix", value: "" } }],
  [{ origin: "photo-ns/backend[0]" }, { origin: "photo-ns/backend[0]" }],
  [{ origin: "photo-ns/backend" }, { origin: "photo-ns/backend" }],
  [{ origin: "no-policy" }, { origin: "no-policy" }],
  [
    { "after-id": "0", limit: "10", order: "oldest" },
    { afterId: 0, limit: 10, order: "oldest" },
  ],
  [{ "after-id": "17@3f9c2a71b0" }, { afterId: 17, replica: "3f9c2a71b0" }],
];

for (const [values, filter] of UNDERSTOOD) {
  test(`the flags ${JSON.stringify(values)} are understood`, () => {
    assert.deepEqual(parseAuditFilter(values, NOON), filter);
  });
}

const REFUSED: readonly (readonly [Record<string, string>, RegExp, RegExp])[] = [
  [{ since: "10 minutes" }, /`10 minutes` is not a value of `since`/, /`10m`/],
  [{ since: "10x" }, /neither a duration nor a time/, /`10m`/],
  [{ since: "2026-13-45" }, /neither a duration nor a time/, /2026-11-22T10/],
  [{ since: "" }, /neither/, /`10m`/],
  [{ since: "5m", until: "10m" }, /not before/, /swap/],
  [{ workload: "photo-backend" }, /`photo-backend` is not a value of `workload`/, /NAMESPACE\/NAME/],
  [{ caller: "a/b/c" }, /not a NAMESPACE\/NAME/, /NAMESPACE\/NAME/],
  [{ caller: "spiffe://cluster.local/ns/a" }, /not a workload identity/, /spiffe:\/\//],
  [{ effect: "denied" }, /`denied` is not a value of `effect`/, /`allow`, `deny`, `refused`/],
  [{ "would-deny": "yes" }, /it can only be true/, /`true`/],
  [{ method: "GET POST" }, /`GET POST`/, /`GET`/],
  [{ path: "photos" }, /does not begin with/, /\/photos\*/],
  [{ path: "/a*/b" }, /only one `\*`/, /\/photos\*/],
  [{ origin: "x" }, /`x` is not a value of `origin`/, /NAMESPACE\/POLICY/],
  [{ limit: "0" }, /whole number from 1 to 10000000/, /limit=100/],
  [{ limit: "1e3" }, /whole number/, /number/],
  [{ "after-id": "-1" }, /whole number from 0/, /number/],
  [{ "after-id": "1@two words" }, /whole number from 0/, /number/],
  [{ order: "random" }, /`random`/, /`oldest` or `newest`/],
  [{ colour: "red" }, /cannot be asked by `colour`/, /since, until, workload/],
  [{ __proto__x: "1" }, /__proto__x/, /since/],
];

for (const [values, message, help] of REFUSED) {
  test(`the flags ${JSON.stringify(values)} are refused with what to write instead`, () => {
    assert.throws(
      () => parseAuditFilter(values, NOON),
      (error: AppError) => {
        assert.equal(error.code, "invalid-argument");
        assert.match(error.message, message);
        assert.match(error.help ?? "", help);
        return true;
      },
    );
  });
}

test("no text whatever makes the parser throw anything but invalid-argument", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...AUDIT_FLAGS, "toString"), fc.string({ unit: "binary" })), (values) => {
      try {
        parseAuditFilter(values, NOON);
        return true;
      } catch (error) {
        return error instanceof AppError && error.code === "invalid-argument";
      }
    }),
  );
});
