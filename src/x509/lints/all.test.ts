import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Certificate } from "../certificate.ts";
import { generateKey, spkiOf } from "../csr-builder.ts";
import { Issuer, makeRoot } from "../issuer.ts";
import { OID } from "../oids.ts";
import { Profile } from "../profile.ts";
import { LINTS, lintLeaf } from "./all.ts";

const NOW = Date.UTC(2026, 10, 22);
const key = generateKey();
const root = makeRoot(key, { organization: "cluster.local", now: NOW, backdateSeconds: 120 });
const issuer = new Issuer(root, key);
const profile = Profile.from({ defaultTtlSeconds: 3600, maxTtlSeconds: 3600, backdateSeconds: 120, dnsNames: "allowed" });
const context = { issuer: root, issuerValidUntil: issuer.validUntil };

function leafOf(kind: "P-256" | "P-384" | "RSA", dnsNames: readonly string[] = []): Certificate {
  const request = { spki: spkiOf(generateKey(kind)), uri: "spiffe://cluster.local/ns/a/sa/b", dnsNames, ttlSeconds: 0, now: NOW };
  return issuer.sign(issuer.prepare(profile, request));
}

const good = leafOf("P-256");
const without = (id: string) => good.critical.filter((each) => each !== id);
const uri = (value: string) => ({ kind: "uri", value }) as const;

/** By lint: certificates that it must refuse. */
const BAD: Readonly<Record<string, readonly Partial<Certificate>[]>> = {
  "serial-number": [{ serial: "01" }, { serial: "f".repeat(40) }, { serial: "1".repeat(42) }],
  "issuer-name": [{ issuer: Buffer.from("3000", "hex") }],
  validity: [{ notAfter: good.notBefore }, { notAfter: root.notAfter + 1000 }],
  "subject-and-names": [
    { subject: root.subject },
    { critical: without(OID.subjectAltName.hex) },
    { names: [...good.names, { kind: "email", value: "a@b" }] },
  ],
  "spiffe-identity": [{ names: [] }, { names: [uri("https://a/ns/a/sa/b")] }, { names: [...good.names, ...good.names] }],
  "basic-constraints": [{ isCa: true }, { pathLength: 0 }, { critical: without(OID.basicConstraints.hex) }],
  "key-usage": [{ keyUsage: 0x84 }, { keyUsage: 0xa0 }, { critical: without(OID.keyUsage.hex) }, { spki: root.spki, keyUsage: 0 }],
  "extended-key-usage": [{ extendedKeyUsage: [OID.serverAuth.hex] }, { extendedKeyUsage: [...(good.extendedKeyUsage ?? []), "2a"] }],
  "key-identifiers": [{ subjectKeyId: "00" }, { authorityKeyId: "00" }],
};

describe("the lints", () => {
  test("pass every certificate that a profile makes, of each kind of key", () => {
    for (const kind of ["P-256", "P-384", "RSA"] as const) lintLeaf(leafOf(kind), context);
    lintLeaf(leafOf("P-256", ["localhost"]), context);
  });

  test("each have cases of their own here, and a source", () => {
    assert.deepEqual(LINTS.map(({ name }) => name).sort(), Object.keys(BAD).sort());
    for (const { source } of LINTS) assert.match(source, /§/);
  });

  for (const [name, cases] of Object.entries(BAD)) {
    test(`${name} refuses what it is there for, by its own name`, () => {
      const lint = LINTS.find((each) => each.name === name);
      for (const change of cases) {
        const leaf = { ...good, ...change };
        assert.equal(typeof lint?.check(leaf, context), "string", JSON.stringify(change));
        assert.throws(() => lintLeaf(leaf, context), {
          code: "internal",
          message: /^a prepared certificate is not signed: .* \(lint [a-z-]+, .*§/,
        });
      }
    });
  }
});
