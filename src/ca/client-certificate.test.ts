import assert from "node:assert/strict";
import { test } from "node:test";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import { generateKey, spkiOf } from "../x509/csr-builder.ts";
import { Issuer, makeRoot } from "../x509/issuer.ts";
import { Profile } from "../x509/profile.ts";
import { holderOf } from "./client-certificate.ts";

const NOW = Date.UTC(2026, 10, 22);
const HOUR_MS = 3_600_000;
const PROFILE = Profile.from({ defaultTtlSeconds: 3600, maxTtlSeconds: 3600, backdateSeconds: 120, dnsNames: "refused" });
const REFUSED = { code: "unauthenticated" } as const;

function newRoot() {
  const key = generateKey();
  const root = makeRoot(key, { organization: "cluster.local", now: NOW, backdateSeconds: 120 });
  return { root, issuer: new Issuer(root, key) };
}

function leafOf(issuer: Issuer): Uint8Array {
  const uri = "spiffe://cluster.local/ns/a/sa/b";
  return issuer.sign(issuer.prepare(PROFILE, { spki: spkiOf(generateKey()), uri, dnsNames: [], ttlSeconds: 0, now: NOW })).der;
}

const trust = (roots: readonly Certificate[]) => ({ roots, intermediates: [], isRevoked: () => false });

test("a certificate that comes again has the same holder, without its path being verified again", () => {
  const { root, issuer } = newRoot();
  const der = leafOf(issuer);
  const anchors = trust([root]);
  const first = holderOf(der, anchors, NOW);
  assert.equal(formatSpiffeId(first.identity), "spiffe://cluster.local/ns/a/sa/b");
  assert.equal(holderOf(Buffer.from(der), anchors, NOW + 1), first);
});

test("a certificate that was good is refused once it is revoked, has expired, or is not valid yet by a clock that was set back", () => {
  const { root, issuer } = newRoot();
  const der = leafOf(issuer);
  const anchors = trust([root]);
  const { serial } = holderOf(der, anchors, NOW).leaf;
  const isRevoked = (of: string): boolean => of === serial;
  assert.throws(() => holderOf(der, { ...anchors, isRevoked }, NOW), { ...REFUSED, message: "the certificate is revoked" });
  assert.throws(() => holderOf(der, anchors, NOW + HOUR_MS + 1000), { ...REFUSED, message: "the certificate has expired" });
  assert.throws(() => holderOf(der, anchors, NOW - HOUR_MS), { ...REFUSED, message: "the certificate is not valid yet" });
});

test("a certificate that was good is refused once its root is withdrawn, even before it expires", () => {
  const [former, next] = [newRoot(), newRoot()];
  const der = leafOf(former.issuer);
  holderOf(der, trust([former.root, next.root]), NOW);
  assert.throws(() => holderOf(der, trust([next.root]), NOW), REFUSED);
});

test("what was verified by former intermediates is verified again by others, though the roots stay", () => {
  const { root, issuer } = newRoot();
  const der = leafOf(issuer);
  const anchors = trust([root]);
  const first = holderOf(der, anchors, NOW);
  assert.notEqual(holderOf(der, { ...anchors, intermediates: [newRoot().root] }, NOW), first);
});

test("a byte that differs is another certificate", () => {
  const { root, issuer } = newRoot();
  const anchors = trust([root]);
  const der = Buffer.from(leafOf(issuer));
  holderOf(der, anchors, NOW);
  const forged = Buffer.from(der);
  const last = forged.length - 1;
  forged[last] = (forged[last] ?? 0) ^ 1;
  assert.equal(parseCertificate(forged).serial, parseCertificate(der).serial);
  assert.throws(() => holderOf(forged, anchors, NOW), REFUSED);
});

test("an issuer that expires before the leaf ends it", () => {
  const { root, issuer } = newRoot();
  const der = leafOf(issuer);
  const anchors = trust([{ ...root, notAfter: NOW + 1000 }]);
  holderOf(der, anchors, NOW);
  assert.throws(() => holderOf(der, anchors, NOW + 2000), REFUSED);
});
