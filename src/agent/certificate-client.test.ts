import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { CONTROL_PLANE_IDENTITY, FakeCsrServer } from "../../test/fakes/fake-csr-server.ts";
import { systemClock } from "../core/clock.ts";
import type { AppError } from "../core/error.ts";
import { generateKey, spkiOf } from "../x509/csr-builder.ts";
import { type CertificateClientOptions, createCertificateClient } from "./certificate-client.ts";
import type { CertificateAnswer } from "./certificate-manager.ts";
import type { IssuedCertificate } from "./issued-certificate.ts";
import { tokenFromFile } from "./token-source.ts";

const IDENTITY = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend";
const TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
const HOUR_MS = 3_600_000;

const folder = mkdtempSync(join(tmpdir(), "garrison-client-"));
const rootCertificateFile = join(folder, "root-cert.pem");
const tokenFile = join(folder, "token");
after(() => rmSync(folder, { recursive: true }));

let server: FakeCsrServer;
beforeEach(async () => {
  server = new FakeCsrServer(IDENTITY);
  await server.start();
  writeFileSync(rootCertificateFile, server.ca.rootPem);
  writeFileSync(tokenFile, `${TOKEN}\n`);
});
afterEach(() => server.kill());

function ask(options: Partial<CertificateClientOptions> = {}, current?: IssuedCertificate): Promise<CertificateAnswer> {
  const controlPlane = { address: "127.0.0.1", port: server.port, identity: CONTROL_PLANE_IDENTITY };
  const request = createCertificateClient({
    identity: IDENTITY,
    controlPlane,
    rootCertificateFile,
    token: tokenFromFile(tokenFile),
    ttlSeconds: 0,
    clock: systemClock,
    ...options,
  });
  return request(current);
}

async function issued(options: Partial<CertificateClientOptions> = {}, current?: IssuedCertificate): Promise<IssuedCertificate> {
  const answer = await ask(options, current);
  assert.equal(answer.kind, "issued", "error" in answer ? `${answer.error.message}` : "");
  return (answer as Extract<CertificateAnswer, { kind: "issued" }>).certificate;
}

async function refused(options: Partial<CertificateClientOptions> = {}): Promise<{ error: AppError; retryAfterMs: number }> {
  const answer = await ask(options);
  assert.equal(answer.kind, "failed");
  return answer as Extract<CertificateAnswer, { kind: "failed" }>;
}

describe("asking for a certificate", () => {
  it("brings a checked certificate for the key that the request was signed with", async () => {
    const certificate = await issued({ ttlSeconds: 600 });
    assert.equal(certificate.identity, IDENTITY);
    assert.equal(certificate.roots, server.ca.rootPem);
    assert.equal(certificate.privateKey.type, "private");
    assert.ok(certificate.notAfter > Date.now());
    assert.equal(server.requests[0]?.validityDuration, 600n);
  });

  it("presents the token the first time, and the certificate as well from then on", async () => {
    const first = await issued();
    await issued({}, first);
    assert.deepEqual(
      server.requests.map(({ authorization, clientNames }) => ({ authorization, clientNames })),
      [
        { authorization: `Bearer ${TOKEN}`, clientNames: undefined },
        { authorization: `Bearer ${TOKEN}`, clientNames: `URI:${IDENTITY}` },
      ],
    );
  });

  it("falls back on the token where its certificate is of an authority that nobody trusts any more, and not where it may not have what it asks for", async () => {
    const token = async (certified: boolean) => (certified ? undefined : TOKEN);
    const first = await issued({ token });
    const withdrawn = { ...first, roots: new FakeCa("other").rootPem };
    await issued({ token }, withdrawn);
    assert.deepEqual([server.requests[1]?.clientNames, server.requests[1]?.authorization], [undefined, `Bearer ${TOKEN}`]);
    const { answer } = server;
    server.answer = (request) =>
      request.authorization === undefined
        ? {
            code: status.UNAUTHENTICATED,
            details: "request authenticate failure (client certificate: not presented; token: not presented)",
          }
        : answer(request);
    await issued({ token }, first);
    assert.equal(server.requests.length, 4);
    server.answer = () => ({ code: status.PERMISSION_DENIED, details: "the identity is revoked" });
    assert.equal((await ask({ token }, first)).kind, "failed");
    assert.equal(server.requests.length, 5);
  });

  it("makes a new key for every certificate", async () => {
    const first = await issued();
    const second = await issued({}, first);
    assert.equal(createPublicKey(first.privateKey).equals(createPublicKey(second.privateKey)), false);
  });

  it("reads the token anew for each request; while there is no file it says so, or goes by its certificate", async () => {
    rmSync(tokenFile);
    const { error } = await refused();
    assert.deepEqual([error.code, error.message], ["not-found", `the token file \`${tokenFile}\` is not there`]);
    assert.equal(server.requests.length, 0);
    writeFileSync(tokenFile, "another.token.here");
    const current = await issued();
    rmSync(tokenFile);
    await issued({}, current);
    assert.deepEqual(
      server.requests.map((request) => request.authorization),
      ["Bearer another.token.here", undefined],
    );
  });

  it("refuses a token file with more than a token, and tells nothing of its content", async () => {
    writeFileSync(tokenFile, `${TOKEN}\nx-evil: 1`);
    const { error } = await refused();
    assert.equal(error.code, "invalid-argument");
    assert.equal(error.message, `the token file \`${tokenFile}\` does not hold one token`);
    assert.equal(server.requests.length, 0);
  });

  it("trusts the roots of the last answer beside the file's, so that a new root is followed", async () => {
    const current = await issued();
    writeFileSync(rootCertificateFile, new FakeCa("another").rootPem);
    await issued({}, current);
    assert.equal(server.requests.length, 2);
  });

  it("says which file is missing when there is no root certificate", async () => {
    const { error } = await refused({ rootCertificateFile: join(folder, "absent.pem") });
    assert.equal(error.code, "not-found");
    assert.match(error.message, /^the root certificate `.*absent\.pem` cannot be read$/);
    assert.match(error.help ?? "", /ca\/root-cert\.pem/);
  });

  it("says which file is no root certificate", async () => {
    writeFileSync(rootCertificateFile, "kind: ServiceAccount\n");
    const { error } = await refused();
    assert.deepEqual([error.code, error.message], ["not-found", `the file \`${rootCertificateFile}\` holds no certificate in PEM`]);
    assert.equal(server.requests.length, 0);
  });
});

describe("who the server is", () => {
  it("refuses a server of the same CA with another identity before it sends the token", async () => {
    server.kill();
    const intruder = "spiffe://cluster.local/ns/photo-ns/sa/intruder";
    server = new FakeCsrServer(IDENTITY, { serverIdentity: intruder, ca: server.ca });
    await server.start();
    const { error } = await refused();
    assert.equal(error.code, "unauthenticated");
    assert.equal(error.message, `the server is \`${intruder}\` and not the control plane \`${CONTROL_PLANE_IDENTITY}\``);
    assert.equal(server.requests.length, 0);
  });

  it("refuses a server that has the control plane's name from another CA", async () => {
    writeFileSync(rootCertificateFile, new FakeCa("another").rootPem);
    const { error } = await refused();
    assert.equal(error.code, "unavailable");
    assert.match(error.message, /^cannot reach the control plane at `127\.0\.0\.1:\d+`: .*certificate/);
    assert.match(error.help ?? "", /root certificate file/);
    assert.equal(server.requests.length, 0);
  });

  it("refuses a server with two identities, of which one is right", async () => {
    server.kill();
    const ca = server.ca;
    server = new FakeCsrServer(IDENTITY, { ca, material: ca.material(CONTROL_PLANE_IDENTITY, "spiffe://cluster.local/ns/a/sa/b") });
    await server.start();
    const { error } = await refused();
    assert.equal(error.code, "unauthenticated");
    assert.match(error.message, /2 URI names where exactly one belongs/);
  });

  it("tells that nobody answers", async () => {
    server.kill();
    const { error } = await refused();
    assert.equal(error.code, "unavailable");
    assert.match(error.message, /^cannot reach the control plane at `127\.0\.0\.1:\d+`: connect ECONNREFUSED/);
  });
});

describe("what the server answers", () => {
  const cases: readonly { readonly name: string; readonly answer: (csr: string, ca: FakeCa) => readonly string[]; readonly why: RegExp }[] =
    [
      {
        name: "a certificate for another key",
        answer: (_, ca) => [ca.sign({ spki: spkiOf(generateKey()), identities: [IDENTITY] }), ca.rootPem],
        why: /for another key/,
      },
      {
        name: "a certificate of another identity",
        answer: (csr, ca) => [ca.signRequest(csr, { identities: ["spiffe://cluster.local/ns/photo-ns/sa/admin"] }), ca.rootPem],
        why: /it is for `spiffe:\/\/cluster\.local\/ns\/photo-ns\/sa\/admin` and not for/,
      },
      {
        name: "a certificate with a second identity",
        answer: (csr, ca) => [ca.signRequest(csr, { identities: [IDENTITY, "spiffe://cluster.local/ns/a/sa/b"] }), ca.rootPem],
        why: /2 URI names/,
      },
      {
        name: "an expired certificate",
        answer: (csr, ca) => [
          ca.signRequest(csr, { identities: [IDENTITY], notBefore: Date.now() - 2 * HOUR_MS, notAfter: Date.now() - HOUR_MS }),
          ca.rootPem,
        ],
        why: /it expired at/,
      },
      {
        name: "a certificate of the future",
        answer: (csr, ca) => [ca.signRequest(csr, { identities: [IDENTITY], notBefore: Date.now() + HOUR_MS }), ca.rootPem],
        why: /it is not valid before/,
      },
      {
        name: "a certificate that the roots beside it did not sign",
        answer: (csr, ca) => [ca.signRequest(csr, { identities: [IDENTITY] }), new FakeCa("another").rootPem],
        why: /no trusted root/,
      },
      { name: "a leaf without roots", answer: (csr, ca) => [ca.signRequest(csr, { identities: [IDENTITY] })], why: /1 elements/ },
      { name: "nothing", answer: () => [], why: /0 elements/ },
      { name: "text that is no certificate", answer: () => ["hello", "world"], why: /PEM/ },
      {
        name: "a heap of elements",
        answer: (csr, ca) => Array.from({ length: 40 }, () => ca.signRequest(csr, { identities: [IDENTITY] })),
        why: /40 elements/,
      },
    ];
  for (const { name, answer, why } of cases) {
    it(`is refused when it is ${name}`, async () => {
      server.answer = ({ csr }) => ({ certChain: answer(csr, server.ca) });
      const { error } = await refused();
      assert.equal(error.code, "permission-denied");
      assert.match(error.message, why);
    });
  }

  it("may hold intermediates between the leaf and the roots, which go to the peers", async () => {
    const other = new FakeCa("other");
    server.answer = ({ csr }) => ({
      certChain: [server.ca.signRequest(csr, { identities: [IDENTITY] }), other.rootPem.trimEnd(), server.ca.rootPem.trimEnd()],
    });
    const certificate = await issued();
    assert.equal(certificate.chain.match(/BEGIN CERTIFICATE/g)?.length, 2);
    assert.equal(certificate.roots, server.ca.rootPem);
  });

  it("is passed on when it is a refusal, with its code", async () => {
    server.answer = () => ({ code: status.PERMISSION_DENIED, details: "not this one" });
    const { error, retryAfterMs } = await refused();
    assert.deepEqual([error.code, error.message, retryAfterMs], ["permission-denied", "not this one", 0]);
  });

  it("may be that the certificate counts no more: then the token does, in the same attempt", async () => {
    const current = await issued();
    const before = server.requests.length;
    server.answer = ({ csr, clientNames }) =>
      clientNames === undefined
        ? { certChain: [server.ca.signRequest(csr, { identities: [IDENTITY] }), server.ca.rootPem] }
        : { code: status.UNAUTHENTICATED, details: "the certificate is revoked" };
    const token = async (certified: boolean) => (certified ? undefined : "a-token");
    const answer = await ask({ token }, current);
    assert.equal(answer.kind, "issued");
    assert.deepEqual(
      server.requests.slice(before).map(({ authorization, clientNames }) => [authorization, clientNames]),
      [
        [undefined, `URI:${IDENTITY}`],
        ["Bearer a-token", undefined],
      ],
    );
  });

  it("is the first refusal where there is no token, and both where the token does not do either", async () => {
    const current = await issued();
    server.answer = () => ({ code: status.UNAUTHENTICATED, details: "not so" });
    const outcomes = await Promise.all([async () => undefined, async () => "a-token"].map((token) => ask({ token }, current)));
    const messages = outcomes.map((outcome) => (outcome.kind === "failed" ? outcome.error.message : "issued"));
    assert.deepEqual(messages, ["not so", "not so; and without the certificate: not so"]);
  });

  it("may ask for patience", async () => {
    server.answer = () => ({ code: status.RESOURCE_EXHAUSTED, details: "busy", retryAfterMs: 90_000 });
    const { error, retryAfterMs } = await refused();
    assert.deepEqual([error.code, retryAfterMs], ["resource-exhausted", 90_000]);
  });

  it("need not come: the deadline ends the wait", async () => {
    server.answer = () => "silence";
    const { error } = await refused({ deadlineMs: 2_000 });
    assert.equal(error.code, "deadline-exceeded");
    assert.equal(server.requests.length, 1);
  });
});
