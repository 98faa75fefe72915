import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatBecause } from "./decision.ts";
import { objectKey } from "./model.ts";

describe("objectKey", () => {
  it("is the kind with namespace and name", () => {
    assert.equal(objectKey({ kind: "Service", meta: { namespace: "shop", name: "cart" } }), "Service shop/cart");
  });

  it("is the kind with the name alone where there is no namespace", () => {
    assert.equal(objectKey({ kind: "Namespace", meta: { namespace: "", name: "shop" } }), "Namespace shop");
  });
});

describe("formatBecause", () => {
  it("names the rule that decided", () => {
    assert.equal(formatBecause({ kind: "rule", action: "DENY", origin: { namespace: "shop", policy: "cart", rule: 0 } }), "shop/cart[0]");
  });

  it("names the two ways of deciding without a rule", () => {
    assert.equal(formatBecause({ kind: "default" }), "default");
    assert.equal(formatBecause({ kind: "no-policy" }), "no-policy");
  });
});
