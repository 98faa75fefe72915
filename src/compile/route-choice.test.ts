import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { RouteMatch } from "../policy/gateway.ts";
import type { GatewayRoute } from "./gateway-policy.ts";
import { type RoutedRequest, RouteTable } from "./route-choice.ts";
import { mostSpecific } from "./server-choice.ts";

type Asked = Partial<Pick<RoutedRequest, "method" | "authority" | "path">> & {
  readonly headers?: Readonly<Record<string, readonly string[]>>;
};

function head({ headers = {}, ...more }: Asked = {}): RoutedRequest {
  return { method: "GET", authority: "a.example.org", path: "/", linesOf: (name) => headers[name] ?? [], ...more };
}

const ANY: RouteMatch = { path: undefined, method: undefined, authority: undefined, headers: [] };

/** A table for `*` with one route of this match, and the service that answers for the rest. */
function table(match: Partial<RouteMatch>): RouteTable {
  const routes: readonly GatewayRoute[] = [{ match: { ...ANY, ...match }, action: { kind: "forward", service: "fits" } }];
  return new RouteTable([{ host: "*", routes }]);
}

const fits = (match: Partial<RouteMatch>, request: Asked): boolean => table(match).choose(head(request)) !== undefined;

describe("the host of a request", () => {
  const patterns = new Map(["*", "*.org", "*.example.org", "a.example.org"].map((name) => [name, name]));

  test("the name itself comes before the longest wildcard, and that before any", () => {
    const found = ["a.example.org", "b.example.org", "c.b.example.org", "example.org", "x.com", "", "localhost"].map((name) =>
      mostSpecific(patterns, name),
    );
    assert.deepEqual(found, ["a.example.org", "*.example.org", "*.example.org", "*.org", "*", "*", "*"]);
  });

  test("a wildcard is at least one character, and nothing matches where there is none", () => {
    const only = new Map([["*.example.org", 1]]);
    assert.deepEqual(
      [".example.org", "xexample.org", "example.org", "a.example.org"].map((name) => mostSpecific(only, name)),
      [undefined, undefined, undefined, 1],
    );
  });

  test("port and case do not count, and a literal address is no name with a port", () => {
    const routes = (service: string): readonly GatewayRoute[] => [{ match: ANY, action: { kind: "forward", service } }];
    const hosts = new RouteTable([
      { host: "a.example.org", routes: routes("a") },
      { host: "*", routes: routes("any") },
    ]);
    const chosen = ["A.Example.ORG:8443", "a.example.org:", "[::1]:80", "[::1]"].map((authority) => hosts.choose(head({ authority })));
    assert.deepEqual(
      chosen.map((action) => action?.kind === "forward" && action.service),
      ["a", "any", "any", "any"],
    );
  });
});

test("all that a match says must hold", () => {
  const path = (value: string) => ({ path: value });
  assert.deepEqual(
    [fits({ path: { kind: "exact", value: "/a" } }, path("/a")), fits({ path: { kind: "exact", value: "/a" } }, path("/a/"))],
    [true, false],
  );
  assert.deepEqual(
    [fits({ path: { kind: "prefix", value: "/a" } }, path("/ab")), fits({ path: { kind: "prefix", value: "/a/" } }, path("/a"))],
    [true, false],
  );
  assert.deepEqual(
    [fits({ method: { kind: "exact", value: "GET" } }, {}), fits({ method: { kind: "exact", value: "get" } }, {})],
    [true, false],
  );
  assert.deepEqual(
    [fits({ authority: { kind: "prefix", value: "a." } }, {}), fits({ authority: { kind: "prefix", value: "A." } }, {})],
    [true, false],
  );
  assert.equal(fits({ method: { kind: "exact", value: "GET" }, path: { kind: "exact", value: "/b" } }, path("/a")), false);
});

test("each line of a header is tried on its own, the lines of a few as one, and an empty one is there", () => {
  const match = (value: RouteMatch["headers"][number]["value"], name = "x-a") => ({ headers: [{ name, value }] });
  assert.equal(fits(match({ kind: "exact", value: "2" }), { headers: { "x-a": ["1", "2"], "x-b": ["3"] } }), true);
  assert.equal(fits(match({ kind: "exact", value: "1,2" }), { headers: { "x-a": ["1", "2"] } }), false);
  assert.equal(fits(match({ kind: "exact", value: "1,2" }, "accept"), { headers: { accept: ["1", "2"] } }), true);
  assert.equal(fits(match({ kind: "present" }), { headers: { "x-a": [""] } }), true);
  assert.equal(fits(match({ kind: "present" }), {}), false);
});
