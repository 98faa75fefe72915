/** Who gets a certificate from a running control plane, and who does not: over its real gRPC port. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Ledger } from "../../src/ca/ledger.ts";
import { TokenIssuer } from "../../src/ca/service-account-token.ts";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { enrol, requestCertificate } from "./caller.ts";
import type { GarrisonProcess } from "./garrison.ts";
import { CLIENT, CLIENT_IDENTITY, meshFiles, SERVER_IDENTITY, UNUSED_PORTS } from "./mesh.ts";
import { csrOf, OTHER_KEYS, selfSigned, stolenCsr } from "./odd-credentials.ts";
import { Place } from "./place.ts";

const place = new Place({ after }, meshFiles(UNUSED_PORTS));
let serve: GarrisonProcess;

before(async () => {
  serve = await place.serve();
});

/** `garrison token`, as a user redirects it into a file. */
async function mint(...args: readonly string[]): Promise<string> {
  const { exit, stdout, stderr } = await place.run("token", CLIENT, ...args);
  assert.equal(exit, 0, stderr);
  return stdout.trim();
}

const request = (csr: string, credentials: Parameters<typeof requestCertificate>[2]) =>
  requestCertificate(place.controlPlane(), csr, credentials);

/** Asks for the client's certificate with this token; what is said. */
async function refusalOf(token: string): Promise<string> {
  const outcome = await request(buildCsr(generateKey(), CLIENT_IDENTITY), { token });
  assert.equal(outcome.code, "UNAUTHENTICATED");
  return "details" in outcome ? outcome.details : "";
}

/** A token that the control plane itself would have made at another time. */
function tokenFrom(shiftMs: number): Promise<string> {
  const clock = { now: () => Date.now() + shiftMs };
  const tokens = new TokenIssuer({ stateFolder: place.state, issuer: "https://cluster.local", clock });
  return tokens.mint({ namespace: "shop", name: "client", audience: "istio-ca", ttlSeconds: 600 });
}

describe("a certificate", { timeout: 60_000 }, () => {
  test("is given for a token of `garrison token`, and holds the account's identity and no other name", async () => {
    const { chain } = await enrol(place.controlPlane(), CLIENT_IDENTITY, await mint());
    const [leaf, ...others] = parseCertificates(chain);
    assert.deepEqual(leaf?.names, [{ kind: "uri", value: CLIENT_IDENTITY }]);
    assert.equal(others.length, 0);
    assert.match(await serve.line(/ certificate issued .*sa\/client /), /by=token serial=[0-9a-f]+ notAfter=/);
  });

  test("is renewed for a certificate without a token", async () => {
    const material = await enrol(place.controlPlane(), CLIENT_IDENTITY, await mint());
    const outcome = await request(buildCsr(generateKey(), CLIENT_IDENTITY), { material });
    assert.equal(outcome.code, "OK");
    assert.match(await serve.line(/by="client certificate"/), / certificate issued .*sa\/client /);
  });

  test("is refused for a token that was minted for somebody else", async () => {
    assert.match(await refusalOf(await mint("--audience", "vault")), /token: the token was refused: wrong-audience/);
  });

  test("is refused for a token that has expired, and for one of the future", async () => {
    assert.match(await refusalOf(await tokenFrom(-3_600_000)), /token: the token was refused: expired/);
    assert.match(await refusalOf(await tokenFrom(3_600_000)), /token: the token was refused: not-yet-valid/);
  });

  test("is refused for what is no token of this control plane, and the log has who asked and nothing of the token", async () => {
    const mark = serve.mark;
    const token = await mint();
    const [header, claims, signature = ""] = token.split(".");
    const unsigned = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${claims}.`;
    const forged = `${header}.${claims}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
    assert.match(await refusalOf("garbage"), /the token was refused: malformed/);
    assert.match(await refusalOf(unsigned), /the token was refused: malformed/);
    assert.match(await refusalOf(forged), /the token was refused: bad-signature/);
    assert.match(await serve.line(/bad-signature/, mark), / warn {2}certificate refused identity="" by=nobody peer=127\.0\.0\.1:\d+ /);
    assert.ok(!serve.output.includes(claims ?? ""));
  });

  test("is refused without any credential, and the answer says what was missing", async () => {
    const outcome = await request(buildCsr(generateKey(), CLIENT_IDENTITY), {});
    const details = "request authenticate failure (client certificate: not presented; join token: not presented; token: not presented)";
    assert.deepEqual(outcome, { code: "UNAUTHENTICATED", details });
  });

  test("is refused to a self-signed certificate that claims an identity", async () => {
    const outcome = await request(buildCsr(generateKey(), CLIENT_IDENTITY), { material: selfSigned(CLIENT_IDENTITY) });
    const details = "request authenticate failure (client certificate: not presented; join token: not presented; token: not presented)";
    assert.deepEqual(outcome, { code: "UNAUTHENTICATED", details });
  });

  test("is refused for another's name, by token and by certificate", async () => {
    const token = await mint();
    const material = await enrol(place.controlPlane(), CLIENT_IDENTITY, token);
    const csr = buildCsr(generateKey(), SERVER_IDENTITY);
    const details = "the certificate request asks for a name other than the caller's identity";
    assert.deepEqual(await request(csr, { token }), { code: "PERMISSION_DENIED", details });
    assert.deepEqual(await request(csr, { material }), { code: "PERMISSION_DENIED", details });
  });

  test("is refused for a request that the holder of its key did not sign", async () => {
    const outcome = await request(stolenCsr(CLIENT_IDENTITY), { token: await mint() });
    assert.deepEqual(outcome, { code: "INVALID_ARGUMENT", details: "the certificate request is not signed by the key it holds" });
  });

  test("is refused for a request that is none, or more than one", async () => {
    const token = await mint();
    const csr = buildCsr(generateKey(), CLIENT_IDENTITY);
    for (const bad of ["", "garbage", csr + csr, csr.slice(0, 200), csr.replaceAll("CERTIFICATE REQUEST", "CERTIFICATE")]) {
      assert.equal((await request(bad, { token })).code, "INVALID_ARGUMENT");
    }
  });

  for (const name of ["RSA-2048", "P-384"] as const) {
    test(`is given for a key of kind ${name}`, async () => {
      const outcome = await request(csrOf(OTHER_KEYS[name], CLIENT_IDENTITY), { token: await mint() });
      assert.equal(outcome.code, "OK", JSON.stringify(outcome));
    });
  }

  test("is refused for a key of Ed25519, and the answer says which kind to take", async () => {
    const outcome = await request(csrOf(OTHER_KEYS.Ed25519, CLIENT_IDENTITY), { token: await mint() });
    const details = "the public key is Ed25519, and Envoy takes no such certificate from its peers: take P-256, P-384 or RSA";
    assert.deepEqual(outcome, { code: "INVALID_ARGUMENT", details });
  });
});

test("every certificate and every refusal is in the ledger of the control plane that has ended", { timeout: 60_000 }, async () => {
  assert.equal(await serve.stop(), 0);
  const ledger = new Ledger(join(place.state, "ca", "ledger.sqlite"));
  try {
    const issued = ledger.certificates({ limit: 100 }).filter(({ identity }) => identity === CLIENT_IDENTITY);
    assert.deepEqual([...new Set(issued.map(({ state }) => state))], ["issued"]);
    assert.equal(issued.length, serve.output.match(/ certificate issued .*sa\/client /g)?.length);
    assert.equal(ledger.refusals({ limit: 100 }).length, serve.output.match(/ certificate refused /g)?.length);
  } finally {
    ledger.close();
  }
});
