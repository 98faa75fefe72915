import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { importJWK, type JWK, jwtVerify } from "jose";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { DEFAULT_TRUST_DOMAIN, parseTrustDomain } from "../identity/trust-domain.ts";
import { issueJwtSvid, type JwtSvidRequest } from "./jwt-svid.ts";
import { JwtSvidKeys } from "./jwt-svid-keys.ts";
import { JwtSvidRecord } from "./jwt-svid-record.ts";

const stateFolder = mkdtempSync(join(tmpdir(), "garrison-jwt-svid-"));
const clock = new ManualClock(Date.UTC(2026, 0, 1));
const keys = new JwtSvidKeys({ stateFolder, clock });
const record = new JwtSvidRecord(join(stateFolder, "record.sqlite"));
after(() => {
  record.close();
  rmSync(stateFolder, { recursive: true });
});

const identity = { trustDomain: DEFAULT_TRUST_DOMAIN, namespace: "photo-ns", serviceAccount: "frontend" };
const SUBJECT = "spiffe://cluster.local/ns/photo-ns/sa/frontend";

function issue(request: Partial<JwtSvidRequest>) {
  return issueJwtSvid(
    { trustDomain: DEFAULT_TRUST_DOMAIN, keys, record, clock },
    { identity, audiences: ["vault"], ttlSeconds: 0, ...request },
  );
}

describe("a JWT-SVID", () => {
  it("is one to a verifier that others wrote: signature, key name, type, subject, audience, five minutes of life", async () => {
    const { token, id } = issue({ audiences: ["vault", "db", "vault"] });
    // A set of keys of its own kind: `use` is none that other verifiers know.
    const [jwk] = (JSON.parse(keys.jwks) as { readonly keys: readonly JWK[] }).keys;
    const key = await importJWK({ ...jwk, use: "sig" });
    const wanted = { audience: "db", subject: SUBJECT, currentDate: new Date(clock.now()) };
    const { payload, protectedHeader } = await jwtVerify(token, key, wanted);
    const iat = clock.now() / 1000;
    assert.deepEqual(payload, { sub: SUBJECT, aud: ["vault", "db"], iat, exp: iat + 300, jti: id });
    assert.deepEqual(protectedHeader, { alg: "ES256", kid: keys.signing.kid, typ: "JWT" });
  });

  it("is recorded with whom it is for, without itself", () => {
    const { token, id, issuedAt, expiresAt } = issue({ audiences: ["vault"], ttlSeconds: 60 });
    assert.equal(expiresAt - issuedAt, 60_000);
    const [newest] = record.newest(1);
    const sha256 = hash("sha256", token.slice(0, token.lastIndexOf(".")), "hex");
    assert.deepEqual(newest, { id, identity: SUBJECT, audiences: ["vault"], issuedAt, expiresAt, sha256 });
    assert.equal(JSON.stringify(newest).includes(token.slice(-20)), false);
  });

  it("is refused without an audience, with bad ones, for too long a life, and for another trust domain", () => {
    const many = Array.from({ length: 17 }, (_, index) => `a${index}`);
    for (const audiences of [[], [""], ["a\nb"], ["x".repeat(513)], many])
      assert.throws(() => issue({ audiences }), { code: "invalid-argument" });
    assert.throws(() => issue({ ttlSeconds: 3_601 }), { code: "invalid-argument" });
    assert.throws(() => issue({ identity: { ...identity, trustDomain: parseTrustDomain("other.org") } }), { code: "permission-denied" });
  });

  it("is not issued where it cannot be recorded", () => {
    const closed = new JwtSvidRecord(join(stateFolder, "closed.sqlite"));
    closed.close();
    assert.throws(
      () =>
        issueJwtSvid({ trustDomain: DEFAULT_TRUST_DOMAIN, keys, record: closed, clock }, { identity, audiences: ["vault"], ttlSeconds: 0 }),
      { code: "unavailable" },
    );
  });
});
