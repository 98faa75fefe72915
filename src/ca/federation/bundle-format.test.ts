import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeCa } from "../../../test/fakes/fake-ca.ts";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import { parseCertificates } from "../../x509/certificate.ts";
import { formatBundle, parseBundle } from "./bundle-format.ts";

const WEST = parseTrustDomain("west.example");
const ca = new FakeCa("west");
const x5c = [Buffer.from(ca.root.der).toString("base64")];
const root = { kty: "EC", use: "x509-svid", x5c };
const jwt = { kty: "EC", crv: "P-256", use: "jwt-svid", kid: "one", x: "eA", y: "eQ" };
const leafX5c = [Buffer.from(parseCertificates(ca.material("spiffe://west.example/ns/a/sa/b").chain)[0]?.der ?? "").toString("base64")];

const parse = (document: unknown) => parseBundle(typeof document === "string" ? document : JSON.stringify(document), WEST);

describe("a bundle's document", () => {
  test("comes back as it was written, keys of tokens and numbers too", () => {
    const jwks = JSON.stringify({ keys: [jwt] });
    const bundle = { roots: ca.rootPem, jwks, sequence: 7, refreshHintSeconds: 300 };
    const { roots, jwks: keys, ...numbers } = parse(formatBundle(bundle));
    assert.equal(roots, ca.rootPem);
    assert.deepEqual(JSON.parse(keys), { keys: [{ kty: "EC", kid: "one", use: "jwt-svid", crv: "P-256", x: "eA", y: "eQ" }] });
    assert.deepEqual(numbers, { sequence: 7, refreshHintSeconds: 300 });
  });

  test("holds the public key of each root beside its certificate, and nothing private", () => {
    const { keys } = JSON.parse(formatBundle({ roots: ca.rootPem, jwks: "", sequence: 1, refreshHintSeconds: 300 }));
    assert.deepEqual(
      keys.map((key: Record<string, unknown>) => Object.keys(key).sort()),
      [["crv", "kty", "use", "x", "x5c", "y"]],
    );
  });

  test("without a key is a bundle that trusts nobody", () => {
    assert.deepEqual(parse({ keys: [] }), { roots: "", jwks: "", sequence: undefined, refreshHintSeconds: undefined });
  });

  test("may hold keys of other uses and of none, which are left out, and so are private members", () => {
    const { roots, jwks } = parse({
      keys: [{ ...root, use: "sig" }, { kty: "EC", x5c }, null, 3, { ...jwt, d: "c2VjcmV0" }, { ...jwt, kid: "" }],
    });
    assert.equal(roots, "");
    assert.equal(JSON.parse(jwks).keys.length, 1);
    assert.doesNotMatch(jwks, /c2VjcmV0/);
  });
});

describe("a bundle is refused that", () => {
  const cases: readonly (readonly [string, unknown, RegExp])[] = [
    ["is not JSON", "{", /not JSON/],
    ["is a list", [], /no JSON object/],
    ["is null", "null", /no JSON object/],
    ["has no keys", {}, /no `keys`/],
    ["has keys that are no list", { keys: { 0: root } }, /no `keys`/],
    ["has too many keys", { keys: Array.from({ length: 129 }, () => ({})) }, /more than 128 keys/],
    ["has too many roots", { keys: Array.from({ length: 33 }, () => root) }, /more than 32 certificates/],
    ["has a root without certificate", { keys: [{ ...root, x5c: undefined }] }, /not exactly one certificate/],
    ["has a root with two", { keys: [{ ...root, x5c: [...x5c, ...x5c] }] }, /not exactly one certificate/],
    ["has a root that is no base64", { keys: [{ ...root, x5c: ["-----BEGIN"] }] }, /not exactly one certificate/],
    ["has a root that is no certificate", { keys: [{ ...root, x5c: ["AAAA"] }] }, /cannot be used/],
    ["has a workload's certificate for a root", { keys: [{ ...root, x5c: leafX5c }] }, /not a CA's/],
    ["has a number that is none", { keys: [], spiffe_sequence: "1" }, /`spiffe_sequence` is no whole number/],
    ["has a number below zero", { keys: [], spiffe_sequence: -1 }, /`spiffe_sequence` is no whole number/],
    ["has a hint that is no whole number", { keys: [], spiffe_refresh_hint: 0.5 }, /`spiffe_refresh_hint` is no whole number/],
  ];
  for (const [name, document, reason] of cases)
    test(name, () => {
      assert.throws(() => parse(document), { code: "invalid-argument", message: reason });
    });
});
