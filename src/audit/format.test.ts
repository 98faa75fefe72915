import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NOON, sampleRecord } from "../../test/fixture/audit-store.ts";
import { formatJson, formatRecord, formatUnasked, parseJson, parseLine } from "./format.ts";
import type { AuditRecord } from "./record.ts";

const record = (other: Partial<AuditRecord> = {}): AuditRecord => ({ ...sampleRecord(), id: 1, ...other });

const LINES: readonly (readonly [string, Partial<AuditRecord>, string])[] = [
  [
    "a request that a dry run would deny",
    { dryRun: "deny", dryRunOrigin: "photo-ns/new[1]" },
    "    1 2026-11-22T10:00:00.000Z ALLOW   photo-ns/photo-frontend     -> photo-ns/photo-backend      GET /photos/1 200 by photo-ns/backend[0] dry-run deny by photo-ns/new[1]",
  ],
  [
    "a request that dry runs would not change",
    { dryRun: "allow", dryRunOrigin: "photo-ns/backend[0]" },
    "    1 2026-11-22T10:00:00.000Z ALLOW   photo-ns/photo-frontend     -> photo-ns/photo-backend      GET /photos/1 200 by photo-ns/backend[0]",
  ],
  [
    "an allowed request",
    {},
    "    1 2026-11-22T10:00:00.000Z ALLOW   photo-ns/photo-frontend     -> photo-ns/photo-backend      GET /photos/1 200 by photo-ns/backend[0]",
  ],
  [
    "a denied request",
    { effect: "deny", status: 403, origin: "default", method: "DELETE" },
    "    1 2026-11-22T10:00:00.000Z DENY    photo-ns/photo-frontend     -> photo-ns/photo-backend      DELETE /photos/1 403 by default",
  ],
  [
    "a refused handshake, without identity and without service",
    { effect: "refused", caller: "", service: "", method: "", path: "", status: 0, origin: "", detail: "TLS error: certificate expired" },
    "    1 2026-11-22T10:00:00.000Z REFUSED (127.0.0.1)                 -> photo-ns/photo-backend      http (TLS error: certificate expired)",
  ],
  [
    "an allowed TCP connection that an AUDIT rule matched",
    { protocol: "tcp", bytesReceived: 10, bytesSent: 2000, durationMicros: 70, audit: ["photo-ns/watch[1]", "b/c[0]"] },
    "    1 2026-11-22T10:00:00.000Z ALLOW   photo-ns/photo-frontend     -> photo-ns/photo-backend      tcp 10 in 2000 out by photo-ns/backend[0] audit photo-ns/watch[1],b/c[0]",
  ],
  [
    "a TCP connection that is still open, whose sizes are not known",
    { protocol: "tcp", bytesReceived: 1, bytesSent: 0, durationMicros: 0, origin: "no-policy" },
    "    1 2026-11-22T10:00:00.000Z ALLOW   photo-ns/photo-frontend     -> photo-ns/photo-backend      tcp by no-policy",
  ],
  [
    "a caller of another trust domain, in full",
    { caller: "spiffe://other/ns/photo-ns/sa/photo-frontend" },
    "    1 2026-11-22T10:00:00.000Z ALLOW   spiffe://other/ns/photo-ns/sa/photo-frontend -> photo-ns/photo-backend      GET /photos/1 200 by photo-ns/backend[0]",
  ],
];

for (const [name, other, line] of LINES) {
  test(`one line for ${name}`, () => {
    assert.equal(formatRecord(record(other), { trustDomain: "cluster.local" }), line);
  });
}

test("colour is put around the effect alone, and only when asked for", () => {
  const lines = ([true, false] as const).map((colour) => formatRecord(record({ effect: "deny" }), { colour }));
  assert.ok(lines[0]?.includes(" \u001b[31mDENY   \u001b[0m "));
  assert.ok(!lines[1]?.includes("\u001b"));
});

/** What has been used to forge lines, columns and terminals. */
const INJECTIONS: readonly (readonly [string, string])[] = [
  ["/x\n2026-11-22T10:00:00.000Z ALLOW a/b", "/x\\x0a2026-11-22T10:00:00.000Z\\x20ALLOW\\x20a/b"],
  ["/x\r\u001b[2K", "/x\\x0d\\x1b[2K"],
  ["/x\u009b31m", "/x\\x9b31m"],
  ["/x\u2028y\u2029z\u0085", "/x\\u{2028}y\\u{2029}z\\x85"],
  ["/x\u202egnp.exe", "/x\\u{202e}gnp.exe"],
  ["/x\\x0a", "/x\\\\x0a"],
  ["/x\u0000\u007f\ud800", "/x\\x00\\x7f\\u{d800}"],
  ["/ by photo-ns/other[0]", "/\\x20by\\x20photo-ns/other[0]"],
  ["/\u00a0\u3000\u200b\ufeff", "/\\xa0\\u{3000}\\u{200b}\\u{feff}"],
];

for (const [path, shown] of INJECTIONS) {
  test(`the path ${JSON.stringify(path)} stays in its line and column`, () => {
    const line = formatRecord(record({ path, method: "GET", status: 0, origin: "" }));
    assert.ok(line.endsWith(` GET ${shown}`), line);
  });
}

const anyText = fc.string({ unit: "binary" });
const anyRecord = fc
  .record({
    caller: anyText,
    service: anyText,
    method: anyText,
    path: anyText,
    host: anyText,
    origin: anyText,
    detail: anyText,
    sourceIp: anyText,
    audit: fc.array(anyText),
  })
  .map((texts) => record(texts));

test("no record's line holds anything but printable characters and single-purpose spaces", () => {
  fc.assert(fc.property(anyRecord, (any) => /^[^\p{C}\p{Zl}\p{Zp}]+$/u.test(formatRecord(any))));
});

test("no record's JSON holds a raw control, format or line-separating character, and it reads back the same", () => {
  fc.assert(
    fc.property(anyRecord, (any) => {
      const line = formatJson(any);
      assert.match(line, /^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+$/u);
      assert.deepEqual(parseJson(line), any);
    }),
  );
});

test("JSON has always the same keys in the same order and the time in UTC", () => {
  const keys =
    "id time reporter workload service caller sourceIp protocol method path host port status bytesReceived bytesSent durationMicros effect origin detail audit dryRun dryRunOrigin tls";
  const shuffled = Object.fromEntries(Object.entries(record()).reverse()) as unknown as AuditRecord;
  assert.equal(formatJson(shuffled), formatJson(record()));
  assert.equal(Object.keys(JSON.parse(formatJson(record())) as object).join(" "), keys);
  assert.ok(formatJson(record({ time: NOON })).startsWith('{"id":1,"time":"2026-11-22T10:00:00.000Z",'));
});

test("a record of a replica has its name in both forms, and nothing else changes", () => {
  const told = { ...record({ id: 17 }), replica: "garrison-replica-3f9c2a71b0" };
  assert.equal(formatRecord(told), `   17@3f9c2a71b0${formatRecord(record({ id: 17 })).slice("   17".length)}`);
  const { replica, ...rest } = JSON.parse(formatJson(told)) as { readonly replica?: string };
  assert.equal(replica, told.replica);
  assert.deepEqual(rest, JSON.parse(formatJson(record({ id: 17 }))));
  assert.deepEqual(parseLine(formatJson(told)), told);
});

test("a line that tells of a replica that was not asked is no record, and one line whatever is in it", () => {
  const line = formatUnasked("other: gone\n\u001b[31m");
  assert.match(line, /^[^\p{C}]+$/u);
  assert.deepEqual(parseLine(line), { unasked: "other: gone\n\u001b[31m" });
});
