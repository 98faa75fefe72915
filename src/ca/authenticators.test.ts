import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { generateKey, spkiOf } from "../x509/csr-builder.ts";
import { Issuer, makeRoot } from "../x509/issuer.ts";
import { Profile } from "../x509/profile.ts";
import { clientCertificateAuthenticator, tokenAuthenticator } from "./authenticators.ts";
import { TokenIssuer } from "./service-account-token.ts";

const NOW = Date.UTC(2026, 10, 22);
const trustDomain = parseTrustDomain("cluster.local");
const clock = { now: () => NOW };

describe("clientCertificateAuthenticator()", () => {
  const key = generateKey();
  const root = makeRoot(key, { organization: "cluster.local", now: NOW, backdateSeconds: 120 });
  const issuer = new Issuer(root, key);
  const profile = Profile.from({ defaultTtlSeconds: 3600, maxTtlSeconds: 3600, backdateSeconds: 120, dnsNames: "refused" });
  const authenticator = clientCertificateAuthenticator({
    trustDomain,
    trust: () => ({ roots: [root], intermediates: [], isRevoked: () => false }),
    clock,
  });
  const spki = spkiOf(generateKey());
  const authenticate = (certificate: Uint8Array | undefined) => authenticator.authenticate({ certificate, authorization: [] });
  const leaf = (uri: string) => issuer.sign(issuer.prepare(profile, { spki, uri, dnsNames: [], ttlSeconds: 0, now: NOW })).der;

  test("proves the identity of a certificate that the root has issued, and nothing without one", async () => {
    const identity = { trustDomain: "cluster.local", namespace: "a", serviceAccount: "b" };
    assert.deepEqual(await authenticate(leaf("spiffe://cluster.local/ns/a/sa/b")), { identity, by: "client certificate" });
    assert.equal(await authenticate(undefined), undefined);
  });

  test("refuses another trust domain's identity, even under the right root", async () => {
    const foreign = leaf("spiffe://other/ns/a/sa/b");
    await assert.rejects(authenticate(foreign), { code: "unauthenticated", message: "the certificate is of another trust domain" });
  });

  test("refuses a certificate that is not under its roots, whatever the handshake said", async () => {
    const other = generateKey();
    const otherRoot = makeRoot(other, { organization: "cluster.local", now: NOW, backdateSeconds: 120 });
    const strict = clientCertificateAuthenticator({
      trustDomain,
      trust: () => ({ roots: [otherRoot], intermediates: [], isRevoked: () => false }),
      clock,
    });
    const certificate = leaf("spiffe://cluster.local/ns/a/sa/b");
    await assert.rejects(strict.authenticate({ certificate, authorization: [] }), { code: "unauthenticated" });
  });

  test("survives bytes that are no certificate", async () => {
    await assert.rejects(authenticate(Buffer.from("no certificate")), { name: "AppError", code: "invalid-argument" });
  });
});

describe("tokenAuthenticator()", () => {
  let stateFolder = "";
  let tokens: TokenIssuer;
  before(() => {
    stateFolder = mkdtempSync(join(tmpdir(), "authenticators-"));
    tokens = new TokenIssuer({ stateFolder, issuer: "https://garrison.test", clock });
  });
  after(() => rmSync(stateFolder, { recursive: true }));

  const authenticate = (...authorization: readonly string[]) =>
    tokenAuthenticator({ trustDomain, tokens }).authenticate({ certificate: undefined, authorization });

  test("proves the identity of a token for `istio-ca`, whatever the case of `Bearer`, and nothing without one", async () => {
    const token = await tokens.mint({ namespace: "a", name: "b", audience: "istio-ca", ttlSeconds: 60 });
    for (const scheme of ["Bearer", "bearer", "BEARER"]) {
      const identity = { trustDomain: "cluster.local", namespace: "a", serviceAccount: "b" };
      assert.deepEqual(await authenticate(`${scheme} ${token}`), { identity, by: "token" });
    }
    assert.equal(await authenticate(), undefined);
  });

  test("refuses several headers, so that nobody checks one and another is meant", async () => {
    const token = await tokens.mint({ namespace: "a", name: "b", audience: "istio-ca", ttlSeconds: 60 });
    const several = { code: "unauthenticated", message: "there are several authorization headers" };
    await assert.rejects(authenticate(`Bearer ${token}`, `Bearer ${token}`), several);
  });

  test("refuses other schemes and empty tokens", async () => {
    for (const value of ["", "Bearer", "Bearer ", "Basic abc", "Bearer a b"]) {
      await assert.rejects(
        authenticate(value),
        { code: "unauthenticated", message: "the authorization header is not `Bearer TOKEN`" },
        value,
      );
    }
  });
});
