import assert from "node:assert/strict";
import { test } from "node:test";
import { citadelNamespaces } from "./citadel-namespaces.ts";

test("Citadel mode is off unless a namespace is named, once or more, or all", () => {
  assert.deepEqual(citadelNamespaces([]), []);
  assert.deepEqual(citadelNamespaces(["shop", "bank", "shop"]), ["shop", "bank"]);
  assert.deepEqual(citadelNamespaces(["*"]), ["*"]);
});

const REFUSED: readonly (readonly [given: readonly string[], message: RegExp])[] = [
  [[""], /`` is not a namespace/],
  [["shop,bank"], /`shop,bank` is not a namespace/],
  [["Shop"], /`Shop` is not a namespace/],
  [["shop/secrets/x"], /is not a namespace/],
  [["*", "shop"], /`--citadel '\*'` is every namespace/],
  [Array.from({ length: 101 }, (_, index) => `n-${index}`), /more than 100 namespaces/],
];

for (const [given, message] of REFUSED) {
  test(`${given.slice(0, 3).join(" ")} is refused`, () => {
    assert.throws(() => citadelNamespaces(given), { code: "invalid-argument", message });
  });
}
