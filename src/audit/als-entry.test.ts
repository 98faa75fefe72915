import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { HTTPAccessLogEntrySchema, TCPAccessLogEntrySchema } from "../gen/envoy/data/accesslog/v3/accesslog_pb.js";
import { readHttpEntry, readTcpEntry } from "./als-entry.ts";
import type { EntryMeaning, NewAuditRecord } from "./record.ts";

/** Entries that a real Envoy sent, each for the case in its name. */
const FOLDER = new URL("../../test/golden/als/", import.meta.url);
const ID = "spiffe://cluster.local/ns/photo-ns/sa";

interface Golden {
  readonly log: string;
  readonly kind: "http" | "tcp";
  readonly entry: JsonValue;
}

function golden(name: string): Golden {
  return JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), "utf8")) as Golden;
}

function read({ log, kind, entry }: Golden): EntryMeaning {
  const serviceOf = (workload: string, listener: string) => `${workload}@${listener}`;
  const from = { workload: "photo-ns/me", identity: `${ID}/me`, log, serviceOf };
  return kind === "http"
    ? readHttpEntry(fromJson(HTTPAccessLogEntrySchema, entry), from)
    : readTcpEntry(fromJson(TCPAccessLogEntrySchema, entry), from);
}

const HTTP = { protocol: "http", service: "photo-ns/me@inbound_8080", port: 8080, method: "GET", path: "/photos", status: 200 } as const;
const TCP = { protocol: "tcp", service: "photo-ns/me@inbound_9090", port: 9090, method: "", path: "", status: 0 } as const;
/** Mutual TLS, as Envoy settles it with itself. */
const TLS = "TLSv1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768";
const ALLOWED = {
  tls: TLS,
  caller: `${ID}/photo-frontend`,
  effect: "allow",
  origin: "photo-ns/frontend[0]",
  detail: "",
  audit: [],
} as const;
const NO_POLICY = { tls: TLS, caller: `${ID}/other`, effect: "allow", origin: "no-policy", detail: "", audit: [] } as const;
const DENIED = { tls: TLS, caller: `${ID}/photo-frontend`, effect: "deny", origin: "photo-ns/deny[10]", detail: "", audit: [] } as const;
const DEFAULT = { tls: TLS, caller: `${ID}/other`, effect: "deny", origin: "default", detail: "", audit: [] } as const;
const REFUSED = {
  effect: "refused",
  caller: "",
  origin: "",
  audit: [],
  method: "",
  path: "",
  status: 0,
  protocol: "tcp",
  service: "photo-ns/me@inbound_8080",
} as const;
const AUDITED = ["photo-ns/audit[0]"];
const UPSTREAM = "the server's identity was refused: CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN matcher, certificate SANs are";

/** What is said of each, as far as it does not change with the capture. */
const RECORDS: Readonly<Record<string, Partial<NewAuditRecord>>> = {
  "http-allow-rule": { ...HTTP, ...ALLOWED },
  "http-allow-rule-audited": { ...HTTP, ...ALLOWED, path: "/audited", audit: AUDITED },
  "http-allow-no-policy": { ...HTTP, ...NO_POLICY },
  "http-allow-no-policy-audited": { ...HTTP, ...NO_POLICY, path: "/audited", audit: AUDITED },
  "http-allow-application-down": {
    ...HTTP,
    ...NO_POLICY,
    status: 503,
    detail: "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
  },
  "http-deny-rule": { ...HTTP, ...DENIED, path: "/denied", status: 403 },
  "http-deny-default": { ...HTTP, ...DEFAULT, status: 403 },
  "http-deny-default-audited": { ...HTTP, ...DEFAULT, status: 403, path: "/audited", audit: AUDITED },
  "tcp-allow-rule-connected": { ...TCP, ...ALLOWED },
  "tcp-allow-no-policy-connected": { ...TCP, ...NO_POLICY },
  "tcp-allow-no-policy-audited-connected": { ...TCP, ...NO_POLICY, caller: `${ID}/audited`, audit: AUDITED },
  "tcp-allow-application-down": { ...TCP, ...NO_POLICY, detail: "delayed connect error: Connection refused" },
  "tcp-deny-rule": { ...TCP, ...DENIED, caller: `${ID}/denied` },
  "tcp-deny-default": { ...TCP, ...DEFAULT },
  "tcp-deny-default-audited": { ...TCP, ...DEFAULT, caller: `${ID}/audited`, audit: AUDITED },
  "refused-plaintext-http": { ...REFUSED, detail: "plaintext where mutual TLS is required" },
  "refused-plaintext-tcp": { ...REFUSED, service: "photo-ns/me@inbound_9090", detail: "plaintext where mutual TLS is required" },
  "refused-no-certificate": {
    ...REFUSED,
    detail: "the TLS handshake failed: PEER_DID_NOT_RETURN_A_CERTIFICATE:peer did not provide required client certificate",
  },
  "refused-by-client": { ...REFUSED, detail: "the TLS handshake failed: SSLV3_ALERT_CERTIFICATE_UNKNOWN" },
  "refused-foreign-root": {
    ...REFUSED,
    detail: `the TLS handshake failed: CERTIFICATE_VERIFY_FAILED:verify cert failed: X509_verify_cert: certificate verification error at depth 0: unable to get local issuer certificate (it presented \`${ID}/photo-frontend\`, which is not proven)`,
  },
  "refused-foreign-trust-domain": {
    ...REFUSED,
    detail:
      "the TLS handshake failed: CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN matcher, certificate SANs are [spiffe://elsewhere/ns/photo-ns/sa/photo-frontend]",
  },
  "outbound-refused-http": {
    ...REFUSED,
    protocol: "http",
    service: "photo-ns/wrong",
    caller: `${ID}/me`,
    method: "GET",
    path: "/",
    host: "x",
    status: 503,
    detail: `${UPSTREAM} [${ID}/photo-backend]`,
  },
  "outbound-refused-tcp": { ...REFUSED, service: "photo-ns/wrongt", caller: `${ID}/me`, detail: `${UPSTREAM} [${ID}/photo-backend]` },
};

/** The second entry of an allowed connection. */
const ENDS = ["tcp-allow-rule-end", "tcp-allow-no-policy-end"];

for (const [name, expected] of Object.entries(RECORDS)) {
  test(`what Envoy sends for ${name} becomes one record that says so`, () => {
    const meaning = read(golden(name));
    assert.equal(meaning.kind, "record");
    assert.partialDeepStrictEqual(meaning, { record: { ...expected, reporter: "envoy", workload: "photo-ns/me", sourceIp: "127.0.0.1" } });
  });
}

test("every captured entry has its meaning stated here", () => {
  const captured = readdirSync(FOLDER).map((file) => file.replace(".json", ""));
  assert.deepEqual([...Object.keys(RECORDS), ...ENDS].toSorted(), captured.toSorted());
});

for (const name of ENDS) {
  test(`what Envoy sends for ${name} completes the record of its connection`, () => {
    const [opened, ended] = [read(golden(name.replace("-end", "-connected"))), read(golden(name))];
    assert.equal(ended.kind, "end");
    assert.partialDeepStrictEqual(ended, { end: { workload: "photo-ns/me", bytesReceived: 1, bytesSent: 7 } });
    const { record } = opened as Extract<EntryMeaning, { kind: "record" }>;
    const { end } = ended as Extract<EntryMeaning, { kind: "end" }>;
    assert.equal(record.connection, end.connection);
    assert.equal(record.durationMicros, 0);
    assert.ok(end.durationMicros > 0);
  });
}

/** An entry as captured, with some of its common properties changed. */
function changed(name: string, common: Record<string, JsonValue | undefined>, rest: Record<string, JsonValue> = {}): Golden {
  const { entry, ...stream } = golden(name);
  const object = entry as { readonly commonProperties: Record<string, JsonValue> };
  return {
    ...stream,
    entry: JSON.parse(JSON.stringify({ ...object, ...rest, commonProperties: { ...object.commonProperties, ...common } })) as JsonValue,
  };
}

test("times and sizes come in the record's units", () => {
  const meaning = read(
    changed(
      "http-allow-rule",
      { startTime: "2026-11-22T10:00:00.123987Z", duration: "3.000001500s" },
      {
        request: { requestMethod: "PUT", path: "/x?token=secret#y", requestBodyBytes: "5", authority: "h:1" },
        response: { responseCode: 201, responseBodyBytes: "7", responseCodeDetails: "via_upstream" },
      },
    ),
  );
  const expected = {
    time: Date.UTC(2026, 10, 22, 10, 0, 0, 123),
    durationMicros: 3_000_002,
    method: "PUT",
    path: "/x",
    host: "h:1",
    status: 201,
  };
  assert.partialDeepStrictEqual(meaning, { record: { ...expected, bytesReceived: 5, bytesSent: 7 } });
});

test("a plaintext caller that is allowed has no identity", () => {
  assert.partialDeepStrictEqual(read(changed("http-allow-no-policy", { tlsProperties: undefined })), {
    record: { caller: "", effect: "allow", sourceIp: "127.0.0.1" },
  });
});

test("a request that ended before its policy was asked is refused, not allowed", () => {
  const malformed = changed(
    "http-allow-no-policy",
    { upstreamCluster: "" },
    { response: { responseCode: 400, responseCodeDetails: "path_normalization_failed" } },
  );
  assert.partialDeepStrictEqual(read(malformed), {
    record: { effect: "refused", origin: "", status: 400, detail: "path_normalization_failed" },
  });
});

test("a request that came before the policy did is refused", () => {
  const early = changed("http-allow-no-policy", { responseFlags: { noFilterConfigFound: true } }, { response: { responseCode: 500 } });
  assert.partialDeepStrictEqual(read(early), { record: { effect: "refused", origin: "", detail: "the proxy has no policy yet" } });
});

test("a connection on which no byte came was not decided, and is no record", () => {
  const silent = changed("tcp-allow-application-down", {}, { connectionProperties: {} });
  assert.deepEqual(read(silent), { kind: "nothing" });
});

test("where the server speaks first, the end of an allowed connection is its record", () => {
  const at = (name: string) => ({ ...(golden(name) as Golden), log: "inbound_9090/server-first" });
  assert.partialDeepStrictEqual(read(at("tcp-allow-rule-end")), {
    kind: "record",
    record: { effect: "allow", origin: "photo-ns/frontend[0]", service: "photo-ns/me@inbound_9090" },
  });
  assert.partialDeepStrictEqual(read(at("tcp-deny-rule")), { record: { effect: "deny" } });
  const silent = changed("tcp-allow-rule-end", { metadata: {} }, { connectionProperties: {} });
  assert.partialDeepStrictEqual(read({ ...silent, log: "inbound_9090/server-first" }), {
    record: { effect: "refused", origin: "", detail: "it left when the server had spoken, before it said anything" },
  });
});

test("a policy name that is not ours is kept as it is", () => {
  const foreign = changed("tcp-deny-rule", { connectionTerminationDetails: "rbac_access_denied_matched_policy[by hand]" });
  assert.partialDeepStrictEqual(read(foreign), { record: { effect: "deny", origin: "by hand" } });
});

test("the application's own TLS that was passed on is told, of the same service, and a denial as any", () => {
  const own = (name: string) => ({ ...(golden(name) as Golden), log: "inbound_9090/own-tls" });
  assert.partialDeepStrictEqual(read(own("tcp-allow-no-policy-connected")), {
    record: { effect: "allow", detail: "TLS that is not the mesh's, passed on as it is", service: "photo-ns/me@inbound_9090" },
  });
  assert.partialDeepStrictEqual(read(own("tcp-deny-default")), { record: { effect: "deny", detail: "" } });
});

test("TLS that is not the mesh's is told apart from plaintext", () => {
  const { tlsProperties } = (golden("refused-foreign-root").entry as { readonly commonProperties: Record<string, JsonValue> })
    .commonProperties;
  assert.partialDeepStrictEqual(read(changed("refused-plaintext-http", { tlsProperties })), {
    record: { detail: "TLS that is not the mesh's: no filter chain fits it" },
  });
});

test("an entry without properties is no record", () => {
  assert.deepEqual(read({ log: "inbound_8080", kind: "http", entry: {} }), { kind: "nothing" });
  assert.deepEqual(read({ log: "inbound_8080", kind: "tcp", entry: {} }), { kind: "nothing" });
});
