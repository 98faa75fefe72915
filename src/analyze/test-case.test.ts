import assert from "node:assert/strict";
import { test } from "node:test";
import { rawNode } from "../../test/fixture/raw-node.ts";
import { Report } from "../policy/decode/report.ts";
import { decodeTests, type TestCase } from "./test-case.ts";

const CART = "spiffe://cluster.local/ns/shop/sa/cart";
const PLAIN = { name: "a case", workload: "shop/web", request: { from: CART }, expect: "allow" };

/** The tests, or every message with its code. */
function decode(...tests: readonly unknown[]): readonly TestCase[] | readonly string[] {
  const report = new Report();
  const decoded = decodeTests(rawNode({ tests }), report);
  return decoded ?? report.diagnostics.map(({ code, message }) => `${code} ${message}`);
}

/** What is wrong with a case that differs from the plain one in these fields. */
function problemsOf(fields: Record<string, unknown>): readonly unknown[] {
  return decode({ ...PLAIN, ...fields });
}

/** The same for its request. */
function problemsOfRequest(fields: Record<string, unknown>): readonly unknown[] {
  return problemsOf({ request: { from: CART, ...fields } });
}

test("a case says what is asked, what must come of it and by which rule", () => {
  const [decoded] = decode({
    name: "everything",
    workload: "shop/web",
    request: {
      from: CART,
      port: 8080,
      protocol: "http",
      method: "DELETE",
      path: "/a?b",
      host: "a.example:80",
      headers: { "X-A": "1", "x-b": ["2", ""] },
      sni: "a.example",
      sourceIp: "127.0.0.9",
    },
    expect: "deny",
    by: "shop/policy.of-mine[12]",
    audit: ["shop/watch[0]"],
    only: "decide",
  });
  assert.deepEqual(decoded, {
    name: "everything",
    workload: "shop/web",
    request: {
      from: CART,
      port: 8080,
      protocol: "http",
      method: "DELETE",
      path: "/a?b",
      host: "a.example:80",
      headers: new Map([
        ["x-a", ["1"]],
        ["x-b", ["2", ""]],
      ]),
      sni: "a.example",
      sourceIp: "127.0.0.9",
      remoteIp: undefined,
      tokens: [],
    },
    expect: "deny",
    by: "shop/policy.of-mine[12]",
    audit: ["shop/watch[0]"],
    only: "decide",
    place: { file: "test.yaml", line: 1, column: 1 },
  });
});

test("what a case does not say is a GET of the root, by nobody's rule", () => {
  const [decoded] = decode({ ...PLAIN, request: { from: "plaintext" }, expect: 403 });
  assert.ok(typeof decoded === "object");
  const { request, by, audit, only, expect } = decoded;
  assert.deepEqual({ by, audit, only, expect }, { by: undefined, audit: undefined, only: undefined, expect: 403 });
  const { from, method, path, host, headers } = request;
  assert.deepEqual(
    { from, method, path, host, headers },
    { from: undefined, method: "GET", path: "/", host: undefined, headers: new Map() },
  );
});

test("`by` may be the default, or that there is no policy", () => {
  for (const by of ["default", "no-policy"]) {
    const [decoded] = problemsOf({ by });
    assert.ok(typeof decoded === "object" && decoded !== null && "by" in decoded);
    assert.equal(decoded.by, by);
  }
});

test("tests without a case are refused", () => {
  assert.deepEqual(decode(), ["GAR0007 `tests` must not be empty"]);
});

for (const [what, fields, problem] of [
  ["a workload without its namespace", { workload: "web" }, "GAR0007 `tests[0].workload` is not a workload or service: `web`"],
  ["an effect that is none", { expect: "maybe" }, "GAR0007 `tests[0].expect` is not allowed: `maybe`"],
  ["a status that no decision gives", { expect: 418 }, "GAR0007 `tests[0].expect` is no status that comes of a decision: 418"],
  ["an origin without its rule", { by: "shop/policy" }, "GAR0007 `tests[0].by` is not a rule: `shop/policy`"],
  ["an audit that is no rule", { audit: ["default"] }, "GAR0007 `tests[0].audit[0]` is not a rule: `default`"],
  ["an engine that is none", { only: "istio" }, "GAR0007 `tests[0].only` is not allowed: `istio`"],
  ["an unknown field", { because: "x" }, "GAR0003 unknown field `tests[0].because`"],
  [
    "an unknown field of the request",
    { request: { from: CART, remoteIP: "10.0.0.1" } },
    "GAR0003 unknown field `tests[0].request.remoteIP`",
  ],
  ["nobody who asks", { request: {} }, "GAR0005 `tests[0].request.from` is missing"],
] as const) {
  test(`${what} is refused`, () => {
    assert.deepEqual(problemsOf(fields), [problem]);
  });
}

for (const [what, fields, problem] of [
  ["a caller that is no identity", { from: "cart" }, "GAR0007 `tests[0].request.from` is not a caller: `cart`"],
  ["plaintext with a server name", { from: "plaintext", sni: "a" }, "GAR0007 `tests[0].request` has both `from: plaintext` and `sni`"],
  ["a server name with a space", { sni: "a b" }, "GAR0007 `tests[0].request.sni` is not a server name: `a b`"],
  ["an address as the server name", { sni: "192.0.2.1" }, "GAR0007 `tests[0].request.sni` is not a server name: `192.0.2.1`"],
  ["CONNECT", { method: "CONNECT" }, "GAR0007 `tests[0].request.method` is not a method that a test can ask with: `CONNECT`"],
  ["a method with a space", { method: "GET /" }, "GAR0007 `tests[0].request.method` is not a method that a test can ask with: `GET /`"],
  ["a path with its host", { path: "http://a/b" }, "GAR0007 `tests[0].request.path` is not a request's path: `http://a/b`"],
  ["a path of two lines", { path: "/a\r\nx: y" }, "GAR0007 `tests[0].request.path` is not a request's path: `/a\\u{d}\\u{a}x: y`"],
  ["a path with a space at its end", { path: "/a " }, "GAR0007 `tests[0].request.path` is not a request's path: `/a `"],
  ["a path that is not ASCII", { path: "/é" }, "GAR0007 `tests[0].request.path` is not a request's path: `/é`"],
  ["a host with user information", { host: "me@a" }, "GAR0007 `tests[0].request.host` is not a request's host: `me@a`"],
  ["a port that is none", { port: 0 }, "GAR0007 `tests[0].request.port` must be 1 to 65535, not 0"],
  ["an address that is none", { sourceIp: "localhost" }, "GAR0007 `tests[0].request.sourceIp` is not an IP address: `localhost`"],
] as const) {
  test(`${what} is refused`, () => {
    assert.deepEqual(problemsOfRequest(fields), [problem]);
  });
}

for (const [what, headers, problem] of [
  ["a header name with a space", { "x a": "1" }, '["x a"]` is not a header name: `x a`'],
  ["Host among the headers", { Host: "a" }, ".Host` cannot stand among the headers: `host`"],
  ["a header that the proxy writes", { "x-envoy-internal": "true" }, '["x-envoy-internal"]` cannot be set by a test: `x-envoy-internal`'],
  ["a header that frames the body", { "Content-Length": "1" }, '["Content-Length"]` cannot be set by a test: `content-length`'],
  ["a header value of two lines", { a: "1\r\nb: 2" }, ".a` is not a header's value: `1\\u{d}\\u{a}b: 2`"],
  ["a header value with a space at its end", { a: ["1", "2 "] }, ".a[1]` is not a header's value: `2 `"],
  ["a header twice in different case", { a: "1", A: "2" }, "` has a name twice"],
  ["several cookies", { cookie: ["a=1", "b=2"] }, "` has several values of `cookie`"],
  ["a header without a value", { a: [] }, ".a` must not be empty"],
] as const) {
  test(`${what} is refused`, () => {
    assert.deepEqual(problemsOfRequest({ headers }), [`GAR0007 \`tests[0].request.headers${problem}`]);
  });
}
