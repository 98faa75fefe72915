import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ATTRIBUTES, type AttributeKey } from "../../policy/attributes.ts";
import type { Facts } from "../../policy/decision.ts";
import { askClause } from "./clause.ts";

const FACTS: Facts = {
  peer: "spiffe://cluster.local/ns/shop/sa/web",
  sourceIp: "10.0.0.7",
  remoteIp: "10.0.0.8",
  destinationIp: "10.0.0.1",
  destinationPort: 8080,
  sni: "api.example",
  http: { method: "GET", path: "/a", host: "API", headers: new Map(Object.entries({ "x-a": ["1", "2"], accept: ["a", "b"] })) },
};
const NOTHING: Facts = { ...FACTS, peer: undefined, sni: "", http: undefined };

function seen(attribute: AttributeKey, facts: Facts = FACTS, argument = ""): readonly string[] {
  return askClause({ attribute, argument, values: [], negated: false }, facts).seen;
}

describe("askClause", () => {
  const SEEN: Readonly<Record<string, readonly string[]>> = {
    principal: ["cluster.local/ns/shop/sa/web"],
    namespace: ["shop"],
    serviceAccount: ["shop/web"],
    trustDomain: ["cluster.local"],
    sourceIp: ["10.0.0.7"],
    remoteIp: ["10.0.0.8"],
    host: ["API"],
    method: ["GET"],
    path: ["/a"],
    destinationPort: ["8080"],
    destinationIp: ["10.0.0.1"],
    sni: ["api.example"],
  };
  for (const [attribute, values] of Object.entries(SEEN))
    it(`sees ${values[0]} of ${attribute}`, () => {
      assert.ok(attribute in ATTRIBUTES);
      assert.deepEqual(seen(attribute as AttributeKey), values);
    });

  it("sees each line of a header, or the one value where Envoy joins them, as it matches them", () => {
    assert.deepEqual(seen("header", FACTS, "X-A"), ["1", "2"]);
    assert.deepEqual(seen("header", FACTS, "accept"), ["a,b"]);
  });

  it("sees nothing where there is nothing", () => {
    for (const attribute of ["principal", "namespace", "serviceAccount", "trustDomain", "host", "method", "path", "sni", "header"] as const)
      assert.deepEqual(seen(attribute, NOTHING, attribute === "header" ? "x-a" : ""), [], attribute);
  });

  it("gives the engine's own answer, negation included", () => {
    const clause = { attribute: "method", argument: "", values: [{ kind: "exact", value: "GET" }], negated: false } as const;
    assert.equal(askClause(clause, FACTS).holds, true);
    assert.equal(askClause({ ...clause, negated: true }, FACTS).holds, false);
    assert.equal(askClause({ ...clause, negated: true }, NOTHING).holds, true);
  });
});
