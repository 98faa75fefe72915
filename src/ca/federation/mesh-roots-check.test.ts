import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, test } from "node:test";
import { FakeCa } from "../../../test/fakes/fake-ca.ts";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import type { RootsSource } from "../../policy/mesh-config.ts";
import { makeRoot } from "../../x509/issuer.ts";
import { formatPem } from "../../x509/pem.ts";
import { checkRoots } from "./mesh-roots-check.ts";

const NOW = Date.now();
const YEAR_MS = 365 * 86_400_000;
const [first, second] = [new FakeCa("first"), new FakeCa("second")];

const place = { file: "istio.yaml", line: 7, column: 9 };

function source(pem: string, ...trustDomains: readonly string[]): RootsSource {
  return { path: "caCertificates[0]", place, from: { kind: "pem", pem }, trustDomains: trustDomains.map(parseTrustDomain) };
}

const check = (...sources: readonly RootsSource[]) =>
  checkRoots(sources, ["east.example", "old.example"], NOW).map(({ code, message, place: { line } }) => `${line} ${code} ${message}`);

test("roots of the mesh, of its aliases and of others are taken, several in one text too", () => {
  assert.deepEqual(check(source(first.rootPem + second.rootPem), source(first.rootPem, "west.example")), []);
});

const rsa = (modulusLength: number) => generateKeyPairSync("rsa", { modulusLength }).privateKey;
const rootOf = (key: ReturnType<typeof rsa>) =>
  formatPem("CERTIFICATE", makeRoot(key, { organization: "a", now: NOW, backdateSeconds: 0 }).der);
/** A CA's certificate with another in the place of its signature's last bytes. */
const forged = () => {
  const der = Buffer.from(first.root.der);
  der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
  return formatPem("CERTIFICATE", der);
};

describe("no root of the mesh is", () => {
  const cases: readonly (readonly [string, () => string, RegExp])[] = [
    ["a workload's certificate", () => first.material("spiffe://east.example/ns/a/sa/b").chain, /a certificate is not a CA's$/],
    ["one that another, or nobody, has signed", forged, /is not signed by itself, and so is no root$/],
    ["what is no certificate", () => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", /cannot be used: /],
    ["a private key beside one", () => `${first.rootPem}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n`, /blocks alone$/],
    ["one of a key that is too short", () => rootOf(rsa(1024)), /cannot be used: /],
  ];
  for (const [name, pem, told] of cases)
    test(name, () => {
      const [flaw = "", ...others] = check(source(pem()));
      assert.match(flaw, /^7 GAR0320 `caCertificates\[0\]` cannot be used: /);
      assert.match(flaw, told);
      assert.deepEqual(others, []);
      assert.doesNotMatch(flaw, /PRIVATE KEY/);
    });
});

test("`cluster.local` is no other trust domain, since policies mean the mesh by it", () => {
  assert.match(
    check(source(first.rootPem, "cluster.local")).join(),
    /GAR0320 .* is of `cluster\.local`, which cannot be told from the mesh/,
  );
  assert.deepEqual(checkRoots([source(first.rootPem, "cluster.local")], ["cluster.local"], NOW), []);
});

test("a root that has expired, or is not valid yet, is told, and so is one that is there twice for one domain", () => {
  const pem = (from: number) => new FakeCa("a", from).rootPem;
  assert.match(check(source(pem(NOW - 20 * YEAR_MS))).join(), /GAR0321 a root of `caCertificates\[0\]` has expired/);
  assert.match(check(source(pem(NOW + YEAR_MS))).join(), /GAR0321 a root of `caCertificates\[0\]` is not valid yet/);
  assert.match(
    check(source(first.rootPem), source(first.rootPem, "old.example")).join(),
    /^7 GAR0322 a root of `caCertificates\[0\]` is there already/,
  );
  assert.deepEqual(check(source(first.rootPem, "east.example"), source(first.rootPem, "old.example")), []);
});
