import assert from "node:assert/strict";
import test from "node:test";
import { isShown, reservedHeaders } from "./authorizer-headers.ts";
import { parseStringMatch } from "./pattern.ts";

function provider(writes: readonly string[], shown: readonly string[]) {
  return { headersToUpstreamOnAllow: writes.map(parseStringMatch), includeRequestHeadersInCheck: shown.map(parseStringMatch) };
}

function reserved(writes: readonly string[], shown: readonly string[] = []): readonly unknown[] {
  return reservedHeaders(provider(writes, shown));
}

test("an authorizer over HTTP is always shown the request line, the host and Authorization, and what its list says", () => {
  const shown = provider([], ["cookie", "x-a-*", "*-z"]);
  for (const name of [":method", ":path", "host", "authorization", "cookie", "x-a-1", "b-z"]) assert.ok(isShown(shown, name), name);
  for (const name of ["cookies", "x-a", "z", "x-b"]) assert.ok(!isShown(shown, name), name);
});

test("what it writes without having been shown it is reserved to it", () => {
  assert.deepEqual(reserved(["x-user", "x-role-*", "*-id"]), [
    { kind: "exact", value: "x-user" },
    { kind: "prefix", value: "x-role-" },
    { kind: "suffix", value: "-id" },
  ]);
});

for (const [writes, shown] of [
  ["authorization", []],
  ["x-user", ["x-user"]],
  ["x-user", ["x-*"]],
  ["x-role-*", ["x-role-a"]],
  ["x-role-*", ["x-*"]],
  ["x-*", ["x-role-*"]],
  ["*-id", ["x-*"]],
  ["*-id", ["*-user-id"]],
  ["*", []],
  ["auth*", []],
] as const) {
  test(`\`${writes}\` is not reserved where ${shown.join() || "Authorization"} is shown, since the authorizer has seen what a client says`, () => {
    assert.deepEqual(reserved([writes], shown), []);
  });
}
