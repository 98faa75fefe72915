import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { describe, test } from "node:test";
import { parseCertificate, publicKeyOf, svidIdentity } from "./certificate.ts";
import { generateKey, spkiOf } from "./csr-builder.ts";
import { Issuer, makeRoot } from "./issuer.ts";
import { formatPem } from "./pem.ts";
import { Profile } from "./profile.ts";
import { verifySigned } from "./signed.ts";

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const DAY = 86_400;
const URI = "spiffe://cluster.local/ns/photo/sa/web";
const profile = Profile.from({ defaultTtlSeconds: DAY, maxTtlSeconds: 90 * DAY, backdateSeconds: 120, dnsNames: "allowed" });
const caKey = generateKey();
const root = makeRoot(caKey, { organization: "cluster.local", now: NOW, backdateSeconds: 120 });
const issuer = new Issuer(root, caKey);
const leafSpki = spkiOf(generateKey());
const request = { spki: leafSpki, uri: URI, dnsNames: [], ttlSeconds: 0, now: NOW };

describe("Issuer", () => {
  test("signs a leaf with exactly the fields of its profile", () => {
    const leaf = issuer.sign(issuer.prepare(profile, request));
    assert.deepEqual(leaf.names, [{ kind: "uri", value: URI }]);
    assert.deepEqual(Buffer.from(leaf.subject).toString("hex"), "3000");
    assert.equal(leaf.notBefore, NOW - 120_000);
    assert.equal(leaf.notAfter, NOW + DAY * 1000);
    assert.equal(leaf.isCa, false);
    assert.equal(leaf.keyUsage, 0x80);
    assert.deepEqual(leaf.extendedKeyUsage, ["2b06010505070301", "2b06010505070302"]);
    assert.equal(leaf.authorityKeyId, root.subjectKeyId);
    assert.deepEqual(Buffer.from(leaf.spki), Buffer.from(leafSpki));
    assert.equal(verifySigned(leaf.signed, publicKeyOf(root)), true);
  });

  test("gives every certificate another serial: positive, of 16 octets", () => {
    const serials = new Set(Array.from({ length: 200 }, () => issuer.prepare(profile, request).serial));
    assert.equal(serials.size, 200);
    for (const serial of serials) assert.match(serial, /^[4-7][0-9a-f]{31}$/);
  });

  test("reports the serial, validity and name that OpenSSL reads from the certificate", () => {
    const prepared = issuer.prepare(profile, { ...request, dnsNames: ["localhost"], ttlSeconds: 600 });
    const theirs = new X509Certificate(formatPem("CERTIFICATE", issuer.sign(prepared).der));
    assert.equal(theirs.serialNumber.toLowerCase(), prepared.serial);
    assert.equal(theirs.validToDate.getTime(), prepared.notAfter);
    assert.equal(theirs.subjectAltName, `URI:${URI}, DNS:localhost`);
  });

  test("signs a prepared certificate once", () => {
    const prepared = issuer.prepare(profile, request);
    issuer.sign(prepared);
    assert.throws(() => issuer.sign(prepared), { code: "internal", message: /signed once/ });
  });

  test("does not sign what another issuer prepared, nor a copy of what it prepared itself", () => {
    const prepared = issuer.prepare(profile, request);
    assert.throws(() => new Issuer(root, caKey).sign(prepared), { code: "internal", message: /signed once/ });
    assert.throws(() => issuer.sign({ ...prepared }), { code: "internal", message: /signed once/ });
  });

  test("cuts a leaf's life to the end of the root", () => {
    const late = root.notAfter - 60_000;
    assert.equal(issuer.prepare(profile, { ...request, now: late }).notAfter, root.notAfter);
  });

  test("prepares nothing before the root is valid or after it has expired", () => {
    for (const now of [root.notBefore - 1000, root.notAfter, root.notAfter + 1000]) {
      assert.throws(() => issuer.prepare(profile, { ...request, now }), { code: "unavailable" });
    }
  });

  test("is not made from a leaf, nor from a key that the certificate does not hold", () => {
    const leafKey = generateKey();
    const leaf = issuer.sign(issuer.prepare(profile, { ...request, spki: spkiOf(leafKey) }));
    assert.throws(() => new Issuer(leaf, leafKey), { code: "invalid-argument", message: /not a CA's/ });
    assert.throws(() => new Issuer(root, generateKey()), { code: "invalid-argument", message: /do not belong together/ });
  });
});

describe("makeRoot()", () => {
  test("makes a self-signed CA certificate for ten years that may sign certificates and revocation lists", () => {
    assert.equal(root.isCa, true);
    assert.equal(root.keyUsage, 0x06);
    assert.equal(root.notBefore, NOW - 120_000);
    assert.equal(root.notAfter, NOW + 10 * 365 * DAY * 1000);
    assert.deepEqual(root.issuer, root.subject);
    assert.equal(verifySigned(root.signed, publicKeyOf(root)), true);
    assert.equal(new X509Certificate(root.der).subject, "O=cluster.local");
  });
});

describe("Profile", () => {
  const config = { defaultTtlSeconds: DAY, maxTtlSeconds: 90 * DAY, backdateSeconds: 120, dnsNames: "refused" } as const;

  test("refuses a configuration that cannot be meant", () => {
    for (const wrong of [
      { defaultTtlSeconds: 0 },
      { defaultTtlSeconds: 1.5 },
      { maxTtlSeconds: Number.NaN },
      { maxTtlSeconds: DAY - 1 },
      { backdateSeconds: -1 },
      { backdateSeconds: 3601 },
    ]) {
      assert.throws(() => Profile.from({ ...config, ...wrong }), { code: "invalid-configuration" }, JSON.stringify(wrong));
    }
  });

  test("grants a life up to its limit, names the limit beyond it, and refuses lives that are none", () => {
    const strict = Profile.from(config);
    assert.equal(strict.validity(NOW + 999, 90 * DAY, Infinity).notAfter, NOW + 90 * DAY * 1000);
    assert.throws(() => strict.validity(NOW, 90 * DAY + 1, Infinity), {
      code: "invalid-argument",
      message: "the requested TTL 7776001 s is greater than the max allowed TTL 7776000 s",
    });
    for (const ttl of [-1, 0.5, Number.NaN])
      assert.throws(() => strict.validity(NOW, ttl, Infinity), { code: "invalid-argument" }, String(ttl));
  });

  test("certifies DNS names only where allowed, and never a wildcard or what is no DNS name", () => {
    assert.throws(() => Profile.from(config).checkDnsNames(["localhost"]), { code: "invalid-argument", message: /not allowed/ });
    profile.checkDnsNames(["localhost", "garrison.istio-system.svc"]);
    for (const bad of ["*.example", "*", "UPPER", "a..b", "-a", "a-", "", "a\0b", "a.", "x".repeat(64)]) {
      assert.throws(() => profile.checkDnsNames([bad]), { code: "invalid-argument" }, bad);
    }
  });
});

test("svidIdentity() reads the identity back from the signed bytes", () => {
  const { der } = issuer.sign(issuer.prepare(profile, request));
  assert.deepEqual(svidIdentity(parseCertificate(der)), { trustDomain: "cluster.local", namespace: "photo", serviceAccount: "web" });
});

test("a key of another kind than the certificate's is refused, and the next key of the process is read as ever", () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const own = generateKey();
  const certificate = makeRoot(own, { organization: "cluster.local", now: Date.now(), backdateSeconds: 120 });
  assert.throws(() => new Issuer(certificate, rsa), { code: "invalid-argument", message: /do not belong together/ });
  assert.ok(createPrivateKey(String(own.export({ type: "pkcs8", format: "pem" }))).equals(own));
});
