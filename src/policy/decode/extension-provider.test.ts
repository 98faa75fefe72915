import assert from "node:assert/strict";
import test from "node:test";
import { rawNode } from "../../../test/fixture/raw-node.ts";
import { extensionProvider } from "./extension-provider.ts";
import { Report } from "./report.ts";

const SERVICE = { service: "opa.auth.svc.cluster.local", port: 9191 };

/** The provider, or what is wrong with it. */
function decode(value: unknown): unknown {
  const report = new Report();
  const decoded = extensionProvider({ node: rawNode(value), path: "provider", report });
  if (decoded !== undefined) assert.equal(report.errors, 0);
  return decoded ?? report.diagnostics.map(({ code, message }) => `${code} ${message}`);
}

function http(fields: Record<string, unknown>): unknown {
  return decode({ name: "opa", envoyExtAuthzHttp: { ...SERVICE, ...fields } });
}

function fieldsOf(decoded: unknown): Record<string, unknown> {
  assert.ok(typeof decoded === "object" && decoded !== null && !Array.isArray(decoded), JSON.stringify(decoded));
  const { place: _, ...fields } = decoded as Record<string, unknown>;
  return fields;
}

const DEFAULTS = {
  name: "opa",
  service: { namespace: undefined, host: "opa.auth.svc.cluster.local" },
  port: 9191,
  timeoutMs: 600_000,
  failOpen: false,
  statusOnError: 403,
  clearRouteCache: false,
  includeRequestBodyInCheck: undefined,
};

test("a gRPC provider has Istio's defaults", () => {
  assert.deepEqual(fieldsOf(decode({ name: "opa", envoyExtAuthzGrpc: SERVICE })), { ...DEFAULTS, kind: "grpc" });
});

test("an HTTP provider has Istio's defaults", () => {
  assert.deepEqual(fieldsOf(http({})), {
    ...DEFAULTS,
    kind: "http",
    pathPrefix: "",
    includeRequestHeadersInCheck: [],
    includeAdditionalHeadersInCheck: [],
    headersToUpstreamOnAllow: [],
    headersToDownstreamOnDeny: [],
    headersToDownstreamOnAllow: [],
  });
});

test("every field of an HTTP provider is read", () => {
  const decoded = http({
    service: "auth/ext.example.org",
    timeout: "1.5s",
    failOpen: true,
    statusOnError: "503",
    clearRouteCache: true,
    includeRequestBodyInCheck: { maxRequestBytes: 8192, allowPartialMessage: true, packAsBytes: true },
    pathPrefix: "/check",
    includeHeadersInCheck: ["x-old"],
    includeRequestHeadersInCheck: ["X-Ext-Authz", "x-a-*", "*-b"],
    includeAdditionalHeadersInCheck: { "X-Env": "prod 1" },
    headersToUpstreamOnAllow: ["x-user"],
    headersToDownstreamOnDeny: ["set-cookie"],
    headersToDownstreamOnAllow: ["*"],
  });
  assert.deepEqual(fieldsOf(decoded), {
    kind: "http",
    name: "opa",
    service: { namespace: "auth", host: "ext.example.org" },
    port: 9191,
    timeoutMs: 1500,
    failOpen: true,
    statusOnError: 503,
    clearRouteCache: true,
    includeRequestBodyInCheck: { maxRequestBytes: 8192, allowPartialMessage: true, packAsBytes: true },
    pathPrefix: "/check",
    includeRequestHeadersInCheck: [
      { kind: "exact", value: "x-ext-authz" },
      { kind: "prefix", value: "x-a-" },
      { kind: "suffix", value: "-b" },
    ],
    includeAdditionalHeadersInCheck: [{ name: "x-env", value: "prod 1" }],
    headersToUpstreamOnAllow: [{ kind: "exact", value: "x-user" }],
    headersToDownstreamOnDeny: [{ kind: "exact", value: "set-cookie" }],
    headersToDownstreamOnAllow: [{ kind: "present" }],
  });
});

test("the deprecated includeHeadersInCheck counts where the newer field says nothing", () => {
  const { includeRequestHeadersInCheck } = fieldsOf(http({ includeHeadersInCheck: ["x-old"] }));
  assert.deepEqual(includeRequestHeadersInCheck, [{ kind: "exact", value: "x-old" }]);
});

for (const [what, fields, problem] of [
  ["a service with a path", { service: "a/b/c" }, "GAR0007 `provider.envoyExtAuthzHttp.service` is not a service: `a/b/c`"],
  ["a port out of range", { port: 0 }, "GAR0007 `provider.envoyExtAuthzHttp.port` must be 1 to 65535, not 0"],
  ["a timeout without a unit", { timeout: "5" }, "GAR0007 `provider.envoyExtAuthzHttp.timeout` is not a time limit: `5`"],
  ["a timeout of nothing", { timeout: "0s" }, "GAR0007 `provider.envoyExtAuthzHttp.timeout` is not a time limit: `0s`"],
  [
    "a status that is none",
    { statusOnError: "299" },
    "GAR0007 `provider.envoyExtAuthzHttp.statusOnError` is not a status that a proxy answers with: `299`",
  ],
  ["a relative path prefix", { pathPrefix: "check" }, "GAR0007 `provider.envoyExtAuthzHttp.pathPrefix` is not a path: `check`"],
  [
    "a body check without a bound",
    { includeRequestBodyInCheck: {} },
    "GAR0005 `provider.envoyExtAuthzHttp.includeRequestBodyInCheck.maxRequestBytes` is missing",
  ],
  [
    "a header pattern with a star in the middle",
    { headersToUpstreamOnAllow: ["x-*-y"] },
    "GAR0007 `provider.envoyExtAuthzHttp.headersToUpstreamOnAllow[0]` is not a header's name: `x-*-y`",
  ],
  [
    "an added header that frames the request",
    { includeAdditionalHeadersInCheck: { Host: "a" } },
    "GAR0007 `provider.envoyExtAuthzHttp.includeAdditionalHeadersInCheck.Host` is a header that the proxy itself writes: `Host`",
  ],
  [
    "an added header with a variable",
    { includeAdditionalHeadersInCheck: { "x-a": "%REQ(x)%" } },
    'GAR0004 `provider.envoyExtAuthzHttp.includeAdditionalHeadersInCheck["x-a"]` has a `%`, and variables are not supported',
  ],
  ["an unknown field", { failClosed: true }, "GAR0003 unknown field `provider.envoyExtAuthzHttp.failClosed`"],
] as const) {
  test(`${what} is refused`, () => assert.deepEqual(http(fields), [problem]));
}

test("a field of HTTP is unknown of a gRPC provider", () => {
  const problem = "GAR0003 unknown field `provider.envoyExtAuthzGrpc.pathPrefix`";
  assert.deepEqual(decode({ name: "opa", envoyExtAuthzGrpc: { ...SERVICE, pathPrefix: "/" } }), [problem]);
});

test("a provider that authorizes nothing is refused by name, and one of two kinds or none", () => {
  assert.deepEqual(decode({ name: "trace", zipkin: {} }), ["GAR0004 `provider.zipkin` is not supported"]);
  const both = { name: "opa", envoyExtAuthzGrpc: SERVICE, envoyExtAuthzHttp: SERVICE };
  assert.deepEqual(decode(both), ["GAR0007 `provider` has both `envoyExtAuthzHttp` and `envoyExtAuthzGrpc`"]);
  assert.deepEqual(decode({ name: "opa" }), ["GAR0005 `provider` has neither `envoyExtAuthzHttp` nor `envoyExtAuthzGrpc`"]);
});
