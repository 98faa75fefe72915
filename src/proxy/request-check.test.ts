import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sanitizeResponse, sanitizeTrailers } from "./headers.ts";
import type { RequestHead } from "./message.ts";
import { type CheckOptions, checkRequest, isRefused, type RawRequest } from "./request-check.ts";

const OPTIONS: CheckOptions = { maxHeaders: 100, pathNormalization: "BASE", trustsScheme: false, forwardedCertificate: undefined };

function raw(partial: Partial<RawRequest> = {}): RawRequest {
  return {
    version: "1.1",
    method: "GET",
    target: "/",
    authority: undefined,
    scheme: "https",
    headers: ["Host", "backend"],
    ended: false,
    webSocket: false,
    ...partial,
  };
}

function accepted(partial: Partial<RawRequest>, options = OPTIONS): RequestHead {
  const checked = checkRequest(raw(partial), options);
  assert.ok(!isRefused(checked), JSON.stringify(checked));
  return checked;
}

function statusOf(partial: Partial<RawRequest>): number {
  const checked = checkRequest(raw(partial), OPTIONS);
  assert.ok(isRefused(checked), JSON.stringify(checked));
  return checked.status;
}

const host = ["Host", "backend"];

describe("what could be read in two ways is refused", () => {
  const refused: readonly (readonly [string, Partial<RawRequest>, number])[] = [
    ["two Host headers", { headers: [...host, ...host] }, 400],
    ["no Host header", { headers: [] }, 400],
    ["an empty Host header", { headers: ["host", ""] }, 400],
    ["a Host with a space", { headers: ["host", "a b"] }, 400],
    ["a Host with a path", { headers: ["host", "a/b"] }, 400],
    ["a Host with user information", { headers: ["host", "u@a"] }, 400],
    ["a Host that differs from :authority", { version: "2", authority: "backend", headers: ["host", "admin"] }, 400],
    ["both lengths", { headers: [...host, "content-length", "1", "transfer-encoding", "chunked"] }, 400],
    ["two lengths in one", { headers: [...host, "content-length", "1, 1"] }, 400],
    ["a coding besides chunked", { headers: [...host, "transfer-encoding", "gzip, chunked"] }, 501],
    ["chunked twice", { headers: [...host, "transfer-encoding", "chunked", "transfer-encoding", "chunked"] }, 501],
    ["a transfer coding in HTTP/2", { version: "2", authority: "a", headers: ["transfer-encoding", "chunked"] }, 400],
    ["HTTP/1.0", { version: "1.0" }, 426],
    ["CONNECT", { method: "CONNECT", target: "backend:80" }, 405],
    ["CONNECT in HTTP/2", { version: "2", method: "CONNECT", authority: "backend:80", target: "" }, 405],
    ["a method that is no token", { version: "2", method: "GET /x HTTP/1.1\r\n", authority: "a" }, 400],
    ["a method that Envoy does not take over HTTP/1.1, and Node does", { method: "QUERY" }, 400],
    ["QUERY without a type", { version: "2", method: "QUERY", authority: "a", headers: [] }, 400],
    ["another such method", { method: "M-SEARCH" }, 400],
    ["a path that does not begin with a slash", { target: "admin" }, 400],
    ["the asterisk", { method: "OPTIONS", target: "*" }, 400],
    ["an absolute target in HTTP/2", { version: "2", authority: "a", target: "http://b/" }, 400],
    ["an absolute target without a host", { target: "http:///a" }, 400],
    ["a target of another scheme", { target: "ftp://a/b" }, 400],
    ["a zero byte in the path", { target: "/a%00" }, 400],
    ["a WebSocket request with a body", { webSocket: true, headers: [...host, "content-length", "5"] }, 400],
    ["a WebSocket request that is no GET", { webSocket: true, method: "POST" }, 400],
    ["an unknown expectation", { headers: [...host, "expect", "cake"] }, 417],
    ["more headers than allowed", { headers: [...host, ...Array.from({ length: 200 }, () => "x")] }, 431],
  ];
  for (const [what, partial, status] of refused) {
    test(`${what}: ${status}`, () => {
      assert.equal(statusOf(partial), status);
    });
  }
});

describe("the target", () => {
  test("of an absolute form, the authority replaces Host, without user information", () => {
    const head = accepted({ target: "http://user@Admin:80/a/../b?c" });
    assert.deepEqual([head.authority, head.path], ["Admin:80", { path: "/b", query: "?c" }]);
    assert.deepEqual(accepted({ target: "HTTP://x" }).path, { path: "/", query: "" });
  });
  test("is kept as written where the next proxy normalizes it", () => {
    const head = accepted({ target: "/a/../b?c" }, { ...OPTIONS, pathNormalization: undefined });
    assert.equal(head.path.path + head.path.query, "/a/../b?c");
  });
});

describe("what the application gets", () => {
  test("nothing that belongs to the connection, nor what Connection names", () => {
    const connection = [
      "Connection",
      "close, X-Secret",
      "Keep-Alive",
      "5",
      "Proxy-Connection",
      "x",
      "TE",
      "gzip",
      "Upgrade",
      "h2c",
      "HTTP2-Settings",
      "x",
    ];
    const { headers } = accepted({ headers: [...host, ...connection, "X-Secret", "1", "X-Kept", "2"] });
    assert.deepEqual(headers, ["x-kept", "2", "x-forwarded-proto", "https"]);
  });
  test("`te: trailers`, which gRPC needs, passes", () => {
    assert.deepEqual(accepted({ headers: [...host, "TE", "trailers, deflate"] }).headers.slice(0, 2), ["te", "trailers"]);
  });
  test("a length is not lost by being named in Connection", () => {
    assert.equal(accepted({ method: "POST", headers: [...host, "Connection", "content-length", "Content-Length", "5"] }).bodyLength, 5);
  });
  test("no certificate header but the proxy's own, however it is written", () => {
    const spoofed = ["X-Forwarded-Client-Cert", "URI=spiffe://a", "x-FORWARDED-client-cert", "URI=spiffe://b"];
    assert.deepEqual(accepted({ headers: [...host, ...spoofed] }).headers, ["x-forwarded-proto", "https"]);
    const { headers } = accepted({ headers: [...host, ...spoofed] }, { ...OPTIONS, forwardedCertificate: "URI=spiffe://real" });
    assert.deepEqual(headers.slice(-2), ["x-forwarded-client-cert", "URI=spiffe://real"]);
  });
  test("no control header of Envoy's (CVE-2023-27487)", () => {
    assert.deepEqual(accepted({ headers: [...host, "X-Envoy-Original-Path", "/admin", "x-envoy-retry-on", "5xx"] }).headers, [
      "x-forwarded-proto",
      "https",
    ]);
  });
  test("the scheme that a trusted proxy saw is kept, and a peer's own word for it is not", () => {
    const headers = [...host, "X-Forwarded-Proto", "http"];
    assert.deepEqual(accepted({ headers }, { ...OPTIONS, trustsScheme: true }).headers, ["x-forwarded-proto", "http"]);
    assert.deepEqual(accepted({ headers }).headers, ["x-forwarded-proto", "https"]);
  });
  test("a body whose length is known, unknown, or none", () => {
    assert.equal(accepted({ headers: [...host, "content-length", "12"] }).bodyLength, 12);
    assert.equal(accepted({ headers: [...host, "transfer-encoding", "chunked"] }).bodyLength, undefined);
    assert.equal(accepted({}).bodyLength, 0);
    assert.equal(accepted({ version: "2", authority: "backend", ended: false }).bodyLength, undefined);
    assert.equal(accepted({ version: "2", authority: "backend", ended: true }).bodyLength, 0);
  });
});

describe("responses and trailers", () => {
  test("a response loses what belongs to its connection", () => {
    assert.deepEqual(sanitizeResponse(["connection", "x-a", "x-a", "1", "keep-alive", "5", "x-b", "2"]), ["x-b", "2"]);
    const untouched = ["x-b", "2"];
    assert.equal(sanitizeResponse(untouched), untouched);
  });
  test("trailers carry nothing that frames, routes or identifies", () => {
    const trailers = [
      "Grpc-Status",
      "0",
      "Content-Length",
      "5",
      "Host",
      "a",
      "X-Forwarded-Client-Cert",
      "x",
      "Transfer-Encoding",
      "chunked",
      ":path",
      "/",
    ];
    assert.deepEqual(sanitizeTrailers(trailers), ["grpc-status", "0"]);
  });
});
