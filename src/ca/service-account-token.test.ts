import assert from "node:assert/strict";
import { createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import fc from "fast-check";
import { decodeJwt, decodeProtectedHeader, SignJWT } from "jose";
import { AppError } from "../core/error.ts";
import { generateKey } from "../x509/csr-builder.ts";
import { TokenIssuer } from "./service-account-token.ts";

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const SECONDS = NOW / 1000;
const ISSUER = "https://garrison.test";
const AUDIENCE = { audience: "istio-ca" };
const ACCOUNT = { namespace: "photo", name: "web" };

let stateFolder = "";
let now = NOW;
let issuer: TokenIssuer;
let key: KeyObject;

before(() => {
  stateFolder = mkdtempSync(join(tmpdir(), "tokens-"));
  issuer = new TokenIssuer({ stateFolder, issuer: ISSUER, clock: { now: () => now } });
  key = createPrivateKey(readFileSync(join(stateFolder, "token-key.pem")));
});
after(() => rmSync(stateFolder, { recursive: true }));

const mint = () => issuer.mint({ ...ACCOUNT, ...AUDIENCE, ttlSeconds: 600 });

const CLAIMS = {
  iss: ISSUER,
  sub: "system:serviceaccount:photo:web",
  aud: ["istio-ca"],
  iat: SECONDS,
  nbf: SECONDS,
  exp: SECONDS + 600,
  "kubernetes.io": { namespace: "photo", serviceaccount: { name: "web" } },
};

/** A token with these claims over the good ones, signed with the issuer's own key unless said otherwise. */
function forge(claims: Record<string, unknown>, signer: KeyObject = key, alg = "ES256"): Promise<string> {
  return new SignJWT({ ...CLAIMS, ...claims }).setProtectedHeader({ alg }).sign(signer);
}

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

async function refuses(token: string, flaw: string): Promise<void> {
  await assert.rejects(issuer.verify(token, AUDIENCE), {
    name: "AppError",
    code: "unauthenticated",
    message: `the token was refused: ${flaw}`,
  });
}

describe("TokenIssuer.mint()", () => {
  test("makes a token with the claims of Kubernetes'", async () => {
    const token = await mint();
    const { jti, ...claims } = decodeJwt(token);
    assert.deepEqual(claims, CLAIMS);
    assert.match(jti ?? "", /^[0-9a-f-]{36}$/);
    assert.equal(decodeProtectedHeader(token).alg, "ES256");
  });

  test("refuses names that are none, an empty audience and lives out of bounds", async () => {
    for (const wrong of [
      { name: "a:b" },
      { namespace: "" },
      { name: "../x" },
      { audience: "" },
      { ttlSeconds: 0 },
      { ttlSeconds: 90 * 86_400 + 1 },
      { ttlSeconds: 1.5 },
    ]) {
      await assert.rejects(
        issuer.mint({ ...ACCOUNT, ...AUDIENCE, ttlSeconds: 600, ...wrong }),
        { code: "invalid-argument" },
        JSON.stringify(wrong),
      );
    }
  });
});

describe("TokenIssuer.verify()", () => {
  test("tells the service account of a token, also after a restart", async () => {
    const token = await mint();
    assert.deepEqual(await issuer.verify(token, AUDIENCE), ACCOUNT);
    const restarted = new TokenIssuer({ stateFolder, issuer: ISSUER, clock: { now: () => now } });
    assert.deepEqual(await restarted.verify(token, AUDIENCE), ACCOUNT);
  });

  test("refuses a token at the moment it expires and before it is valid", async () => {
    const token = await mint();
    try {
      now = NOW + 599_000;
      assert.deepEqual(await issuer.verify(token, AUDIENCE), ACCOUNT);
      now = NOW + 600_000;
      await refuses(token, "expired");
      now = NOW - 1000;
      await refuses(token, "not-yet-valid");
    } finally {
      now = NOW;
    }
  });

  test("takes a token again that it has taken, and not for another audience nor with another signature", async () => {
    const token = await mint();
    assert.deepEqual(await issuer.verify(token, AUDIENCE), ACCOUNT);
    assert.deepEqual(await issuer.verify(token, AUDIENCE), ACCOUNT);
    await assert.rejects(issuer.verify(token, { audience: "other" }), { message: "the token was refused: wrong-audience" });
    await refuses(`${token.slice(0, token.lastIndexOf("."))}.${"A".repeat(86)}`, "bad-signature");
    assert.deepEqual(await issuer.verify(token, AUDIENCE), ACCOUNT);
  });

  test("refuses wrong audiences and issuers, and tokens without an end", async () => {
    await refuses(await issuer.mint({ ...ACCOUNT, audience: "other", ttlSeconds: 600 }), "wrong-audience");
    await refuses(await forge({ aud: undefined }), "wrong-audience");
    await refuses(await forge({ iss: "https://evil.test" }), "wrong-issuer");
    await refuses(await forge({ exp: undefined }), "malformed");
    await refuses(await forge({ exp: "tomorrow" }), "malformed");
  });

  test("refuses another key's signature, and none", async () => {
    await refuses(await forge({}, generateKey()), "bad-signature");
    const [header = "", payload = ""] = (await mint()).split(".");
    await refuses(`${header}.${payload}.`, "malformed");
    await refuses(
      `${header}.${base64url({ ...CLAIMS, sub: "system:serviceaccount:kube-system:admin" })}.${"A".repeat(86)}`,
      "bad-signature",
    );
  });

  test("refuses every algorithm but ES256 (algorithm confusion)", async () => {
    const publicPem = createPublicKey(key).export({ type: "spki", format: "pem" }).toString();
    const signed = `${base64url({ alg: "HS256" })}.${base64url(CLAIMS)}`;
    await refuses(`${signed}.${createHmac("sha256", publicPem).update(signed).digest("base64url")}`, "wrong-algorithm");
    await refuses(`${base64url({ alg: "none" })}.${base64url(CLAIMS)}.AA`, "wrong-algorithm");
    const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey;
    await refuses(await forge({}, p384, "ES384"), "wrong-algorithm");
  });

  test("refuses subjects that are no service account, even well signed ones", async () => {
    const subjects = [
      "system:serviceaccount",
      "system:serviceaccount:",
      "system:serviceaccount:photo",
      "system:serviceaccount:photo:web:x",
      "photo:web",
      "",
      "system:serviceaccount:a/b:web",
    ];
    for (const sub of subjects) await refuses(await forge({ sub }), "wrong-subject");
    await refuses(await forge({ sub: "system:serviceaccount:photo:db" }), "wrong-subject");
    await refuses(await forge({ "kubernetes.io": undefined }), "wrong-subject");
    await refuses(await forge({ "kubernetes.io": { namespace: "photo", serviceaccount: { name: "db" } } }), "wrong-subject");
    const unbound = { namespace: "a/b", serviceaccount: { name: "web" } };
    await refuses(await forge({ sub: "system:serviceaccount:a/b:web", "kubernetes.io": unbound }), "wrong-subject");
  });

  test("refuses giants before it decodes them", async () => {
    await refuses(`${"A".repeat(8190)}.A.A`, "too-large");
  });

  test("survives any text, and any JSON in the places of header and claims", async () => {
    const outcome = (token: string) =>
      issuer.verify(token, AUDIENCE).then(
        () => "accepted",
        (error: unknown) => (error instanceof AppError ? error.code : `escaped: ${String(error)}`),
      );
    const segments = fc.array(
      fc.oneof(fc.json(), fc.string()).map((text) => Buffer.from(text).toString("base64url")),
      { minLength: 1, maxLength: 4 },
    );
    const header = fc.constantFrom({ alg: "ES256" }, { alg: "ES256", crit: ["x"] }, { alg: "ES256", b64: false }, { alg: 1 });
    const headed = fc
      .tuple(header, fc.json())
      .map(([head, body]) => `${base64url(head)}.${Buffer.from(body).toString("base64url")}.${"A".repeat(86)}`);
    const tokens = fc.oneof(
      fc.string(),
      segments.map((parts) => parts.join(".")),
      headed,
    );
    await fc.assert(
      fc.asyncProperty(tokens, async (token) => assert.equal(await outcome(token), "unauthenticated")),
      { numRuns: 1000 },
    );
  });

  test("survives any claims under a good signature (a subject of any type crashes nobody)", async () => {
    for (const sub of [1, null, [], {}, true]) {
      await assert.rejects(
        issuer.verify(await forge({ sub }), AUDIENCE),
        { name: "AppError", code: "unauthenticated" },
        JSON.stringify(sub),
      );
    }
  });
});

describe("the token key", () => {
  test("is a file of mode 0600", () => {
    assert.equal(statSync(join(stateFolder, "token-key.pem")).mode & 0o777, 0o600);
  });

  test("is refused when others may read it, or when it is no P-256 key, without a word of what is in it", () => {
    const folder = mkdtempSync(join(tmpdir(), "tokens-"));
    const path = join(folder, "token-key.pem");
    const open = () => new TokenIssuer({ stateFolder: folder, issuer: ISSUER, clock: { now: () => now } });
    try {
      open();
      chmodSync(path, 0o640);
      assert.throws(open, { code: "unsafe-permissions" });
      chmodSync(path, 0o600);
      const ed25519 = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
      for (const text of ["secret", "", ed25519]) {
        writeFileSync(path, text);
        assert.throws(open, { code: "invalid-configuration", message: "the file is not a P-256 private key", where: path });
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("the token key's rotation", () => {
  let folder: string;
  let time: number;
  const open = () => new TokenIssuer({ stateFolder: folder, issuer: ISSUER, clock: { now: () => time } });
  const account = { namespace: "photo", name: "web" };
  const mint = (tokens: TokenIssuer) => tokens.mint({ ...account, audience: "istio-ca", ttlSeconds: 3600 });
  const verify = (tokens: TokenIssuer, token: string) => tokens.verify(token, { audience: "istio-ca" });

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "tokens-"));
    time = now;
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test("lets a new key sign, while tokens of the ones before are good until they expire, also after a restart", async () => {
    const tokens = open();
    const first = await mint(tokens);
    const { keyId, formerUntil } = tokens.rotate({ revoke: false });
    const second = await mint(tokens);
    tokens.rotate({ revoke: false });
    const third = await mint(tokens);
    assert.equal(decodeProtectedHeader(second).kid, keyId);
    assert.equal(new Set([first, second, third].map((token) => decodeProtectedHeader(token).kid)).size, 3);
    for (const each of [tokens, open()]) for (const token of [first, second, third]) assert.deepEqual(await verify(each, token), account);
    assert.equal(formerUntil, now + 90 * 86_400_000);
    time += 3_700_000;
    await assert.rejects(verify(tokens, first), /expired/);
  });

  test("keeps of a former key nothing that signs, and forgets it when nothing of it can be good", async () => {
    const tokens = open();
    const before = readFileSync(join(folder, "token-key.pem"), "utf8");
    const long = await tokens.mint({ ...account, audience: "istio-ca", ttlSeconds: 90 * 86_400 });
    tokens.rotate({ revoke: false });
    for (const name of readdirSync(folder)) assert.equal(readFileSync(join(folder, name), "utf8").includes(before), false, name);
    assert.doesNotMatch(readFileSync(join(folder, "former-token-keys.json"), "utf8"), /PRIVATE/);
    assert.equal(statSync(join(folder, "former-token-keys.json")).mode & 0o777, 0o600);
    time += 90 * 86_400_000 - 1_000;
    assert.deepEqual(await verify(tokens, long), account);
    time += 1_000;
    await assert.rejects(verify(tokens, long), { code: "unauthenticated" });
  });

  test("that revokes refuses every token that was made before, at once and after a restart", async () => {
    const tokens = open();
    const first = await mint(tokens);
    tokens.rotate({ revoke: false });
    const second = await mint(tokens);
    // What was verified before is not taken for good after.
    for (const token of [first, second]) assert.deepEqual(await verify(tokens, token), account);
    assert.equal(tokens.rotate({ revoke: true }).refusedKeys, 2);
    for (const each of [tokens, open()])
      for (const token of [first, second]) await assert.rejects(verify(each, token), /the token was refused: bad-signature/);
    assert.deepEqual(await verify(tokens, await mint(tokens)), account);
  });

  test("takes no token that only names a former key", async () => {
    const tokens = open();
    const kid = decodeProtectedHeader(await mint(tokens)).kid ?? "";
    tokens.rotate({ revoke: false });
    const [, payload] = (await mint(tokens)).split(".");
    const forged = `${Buffer.from(JSON.stringify({ alg: "ES256", kid })).toString("base64url")}.${payload}.${Buffer.alloc(64, 1).toString("base64url")}`;
    await assert.rejects(verify(tokens, forged), /bad-signature/);
  });
});
