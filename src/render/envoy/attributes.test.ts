import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { clause, denies, facts, whenClauses } from "../../../test/envoy/rbac-questions.ts";
import { ATTRIBUTES, type AttributeKey, attributeRow } from "../../policy/attributes.ts";
import type { Facts } from "../../policy/decision.ts";
import { parseIpBlock } from "../../policy/ip-block.ts";
import type { StringMatch, ValueMatch } from "../../policy/pattern.ts";
import { ENVOY_ATTRIBUTES } from "./attributes.ts";
import type { Transport } from "./authorization.ts";

test("each attribute stands on the side that its fields ask for", () => {
  for (const key of Object.keys(ATTRIBUTES) as AttributeKey[]) {
    const row = attributeRow(key);
    assert.equal(row.source !== undefined && ENVOY_ATTRIBUTES[key].side === "permission", false, key);
    assert.equal(row.operation !== undefined && ENVOY_ATTRIBUTES[key].side === "principal", false, key);
  }
});

/** Where each string attribute's text comes from. */
const TEXT_OF = {
  principal: (text: string) => facts({ peer: `spiffe://${text}` }),
  namespace: (text: string) => facts({ peer: `spiffe://cluster.local/ns/${text}/sa/x` }),
  trustDomain: (text: string) => facts({ peer: `spiffe://${text}/ns/a/sa/x` }),
  sni: (text: string) => facts({ sni: text }),
  host: (text: string) => facts({ http: { method: "GET", path: "/", host: text, headers: new Map() } }),
  method: (text: string) => facts({ http: { method: text, path: "/", host: "h", headers: new Map() } }),
  path: (text: string) => facts({ http: { method: "GET", path: text, host: "h", headers: new Map() } }),
  header: (text: string) => facts({ http: { method: "GET", path: "/", host: "h", headers: new Map([["x-version", ["other", text]]]) } }),
} as const satisfies Partial<Record<AttributeKey, (text: string) => Facts>>;

/** What a match means, said once more and plainly. */
function means(match: StringMatch, text: string): boolean {
  switch (match.kind) {
    case "exact":
      return text === match.value;
    case "prefix":
      return text.startsWith(match.value);
    case "suffix":
      return text.endsWith(match.value);
    case "present":
      return text !== "";
  }
}

const WILD = "\\.+*?()|[]{}^$-a1/";
/** What can stand in a namespace or a trust domain; everywhere else everything can. */
const NAMES = ".-a1";

function matchesOf(characters: string): fc.Arbitrary<StringMatch> {
  const value = fc.string({ unit: fc.constantFrom(...characters), minLength: 1, maxLength: 4 });
  const kinds = fc.constantFrom("exact", "prefix", "suffix");
  return fc.oneof(fc.record({ kind: kinds, value }) as fc.Arbitrary<StringMatch>, fc.constant<StringMatch>({ kind: "present" }));
}

/** A match with a text that has a fair chance to fit it: the value itself, or with something before or behind it. */
function cases(characters: string): fc.Arbitrary<readonly [StringMatch, string]> {
  const text = fc.string({ unit: fc.constantFrom(...characters), minLength: 1, maxLength: 4 });
  return fc
    .tuple(fc.oneof(matchesOf(characters), matchesOf(WILD)), text, fc.constantFrom("alone", "value", "before", "behind"))
    .map(([match, other, shape]) => {
      const value = match.kind === "present" ? "" : match.value;
      const asked = { alone: other, value: value === "" ? other : value, before: other + value, behind: value + other }[shape];
      return [match, [...asked].every((character) => characters.includes(character)) ? asked : other] as const;
    });
}

for (const [attribute, factsOf] of Object.entries(TEXT_OF) as [keyof typeof TEXT_OF, (text: string) => Facts][]) {
  const isName = attribute === "namespace" || attribute === "trustDomain";
  const transports: readonly Transport[] = attributeRow(attribute).layer === 7 ? ["http"] : ["http", "tcp"];
  for (const transport of transports) {
    test(`${attribute} is matched as text, not as an expression, on ${transport}: exact, prefix, suffix, presence`, () => {
      fc.assert(
        fc.property(cases(isName ? NAMES : WILD), ([match, asked]) => {
          const expected = attribute === "header" ? means(match, asked) || means(match, "other") : means(match, asked);
          assert.equal(denies(whenClauses(clause(attribute, match)), factsOf(asked), transport), expected);
        }),
        { numRuns: 500 },
      );
    });
  }
}

test("a value that no name can have does not reach into what stands beside the name", () => {
  const peer = { trustDomain: TEXT_OF.trustDomain("a"), namespace: TEXT_OF.namespace("a") };
  for (const match of [
    { kind: "prefix", value: "a/" },
    { kind: "prefix", value: "a/ns/" },
    { kind: "suffix", value: "/ns" },
    { kind: "suffix", value: "ns/a" },
    { kind: "exact", value: "a/sa" },
  ] as const)
    for (const attribute of ["trustDomain", "namespace"] as const)
      assert.equal(
        denies(whenClauses(clause(attribute, match)), peer[attribute], "tcp"),
        false,
        `${attribute} ${match.kind} ${match.value}`,
      );
});

test("presence of a header asks for a value that is not empty", () => {
  const asked = (...values: string[]) =>
    facts({ http: { method: "GET", path: "/", host: "h", headers: new Map([["x-version", values]]) } });
  const present = whenClauses(clause("header", { kind: "present" }));
  assert.equal(denies(present, asked("")), false);
  assert.equal(denies(present, asked()), false);
  assert.equal(denies(present, asked("", "x")), true);
});

test("a host is compared without regard to case, a method and a path with regard to it", () => {
  const asked = facts({ http: { method: "get", path: "/Photos", host: "Photo.Example", headers: new Map() } });
  assert.equal(denies(whenClauses(clause("host", { kind: "exact", value: "photo.example" })), asked), true);
  assert.equal(denies(whenClauses(clause("host", { kind: "suffix", value: ".EXAMPLE" })), asked), true);
  assert.equal(denies(whenClauses(clause("method", { kind: "exact", value: "GET" })), asked), false);
  assert.equal(denies(whenClauses(clause("path", { kind: "prefix", value: "/photos" })), asked), false);
});

const ACCOUNT: ValueMatch = { kind: "service-account", namespace: "photo-ns", name: "a.b" };

for (const [peer, expected] of [
  ["spiffe://cluster.local/ns/photo-ns/sa/a.b", true],
  ["spiffe://other.example/ns/photo-ns/sa/a.b", true],
  ["spiffe://cluster.local/ns/photo-ns/sa/axb", false],
  ["spiffe://cluster.local/ns/photo-ns/sa/a.b/x", false],
  ["spiffe://cluster.local/x/ns/photo-ns/sa/a.b", false],
  ["spiffe://cluster.local/ns/other/sa/a.b", false],
  [undefined, false],
] as const) {
  test(`the service account \`photo-ns/a.b\` is ${expected ? "" : "not "}found in ${peer ?? "plaintext"}`, () => {
    assert.equal(denies(whenClauses(clause("serviceAccount", ACCOUNT)), facts({ peer })), expected);
    assert.equal(denies(whenClauses(clause("serviceAccount", ACCOUNT)), facts({ peer }), "tcp"), expected);
  });
}

test("a namespace is found only in the five-segment form of an identity", () => {
  const condition = whenClauses(clause("namespace", { kind: "exact", value: "prod" }));
  assert.equal(denies(condition, facts({ peer: "spiffe://cluster.local/ns/prod/sa/x" })), true);
  for (const peer of [
    "spiffe://cluster.local/ns/x/sa/ns/prod/sa/x",
    "spiffe://cluster.local/x/ns/prod/sa/x",
    "spiffe://cluster.local/ns/prod/sa/x/y",
    "spiffe://cluster.local/ns/prod",
  ]) {
    assert.equal(denies(condition, facts({ peer })), false, peer);
  }
});

test("a suffix of a principal does not reach into the scheme", () => {
  assert.equal(denies(whenClauses(clause("principal", { kind: "suffix", value: "//a" })), facts({ peer: "spiffe://a" })), false);
  assert.equal(denies(whenClauses(clause("principal", { kind: "suffix", value: "a" })), facts({ peer: "spiffe://a" })), true);
});

for (const [block, address, expected] of [
  ["10.1.0.0/16", "10.1.2.3", true],
  ["10.1.0.0/16", "10.2.2.3", false],
  ["10.1.2.3", "10.1.2.3", true],
  ["2001:db8::/32", "2001:db8:1::1", true],
  ["2001:db8::/32", "2001:db9::1", false],
  ["::ffff:10.1.2.3", "10.1.2.3", true],
  ["0.0.0.0/0", "2001:db8::1", false],
] as const) {
  test(`the block ${block} ${expected ? "holds" : "does not hold"} ${address}, as source, remote and destination`, () => {
    const value: ValueMatch = { kind: "ip", block: parseIpBlock(block) };
    assert.equal(denies(whenClauses(clause("sourceIp", value)), facts({ sourceIp: address })), expected);
    assert.equal(denies(whenClauses(clause("remoteIp", value)), facts({ remoteIp: address })), expected);
    assert.equal(denies(whenClauses(clause("destinationIp", value)), facts({ destinationIp: address })), expected);
  });
}

test("a port is the workload's", () => {
  assert.equal(denies(whenClauses(clause("destinationPort", { kind: "port", port: 8080 })), facts()), true);
  assert.equal(denies(whenClauses(clause("destinationPort", { kind: "port", port: 80 })), facts()), false);
});

for (const [path, expected] of [
  ["/users/7/photos", true],
  ["/users/7%2F8/photos", true],
  ["/users/[7]/photos", true],
  ["/users//photos", false],
  ["/users/7/8/photos", false],
  ["/users/7/photos/", false],
  ["/usersx7/photos", false],
] as const) {
  test(`the template /users/{*}/photos ${expected ? "matches" : "does not match"} ${path}`, () => {
    const value: ValueMatch = {
      kind: "template",
      text: "/users/{*}/photos",
      segments: [{ kind: "literal", value: "users" }, { kind: "one" }, { kind: "literal", value: "photos" }],
    };
    assert.equal(
      denies(whenClauses(clause("path", value)), facts({ http: { method: "GET", path, host: "h", headers: new Map() } })),
      expected,
    );
  });
}
