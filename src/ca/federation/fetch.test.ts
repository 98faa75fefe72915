import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, describe, test } from "node:test";
import { FakeCa, type LeafOptions } from "../../../test/fakes/fake-ca.ts";
import { AppError } from "../../core/error.ts";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import type { TlsMaterial } from "../../rpc/credentials.ts";
import { fetchBundle } from "./fetch.ts";
import type { EndpointProof, Relation } from "./relations.ts";

const HOUR_MS = 3_600_000;
const ENDPOINT = "spiffe://west.example/ns/istio-system/sa/garrison";
const [ca, otherCa] = [new FakeCa("web"), new FakeCa("other")];
const folder = mkdtempSync(join(tmpdir(), "fetch-"));
after(() => rmSync(folder, { recursive: true }));
const caFile = join(folder, "ca.pem");
writeFileSync(caFile, ca.rootPem);

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

const says =
  (text: string): RequestListener =>
  (_request, response) =>
    response.end(text);

/** An endpoint with a certificate of `issuer`, asked for what it says. */
async function ask(
  { key, chain }: Pick<TlsMaterial, "key" | "chain">,
  proof: EndpointProof,
  { roots = "", answer = says("the bundle"), timeoutMs = 10_000 } = {},
): Promise<string> {
  const server = createServer({ key, cert: chain }, answer).listen(0, "127.0.0.1");
  servers.push(server);
  await once(server, "listening");
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const relation: Relation = { trustDomain: parseTrustDomain("west.example"), url, proof, staleAfterMs: 1_000 };
  return fetchBundle(relation, roots, { timeoutMs });
}

const webProof = (file: string | undefined = caFile): EndpointProof => ({ profile: "https_web", caFile: file });
const web = (options: Partial<LeafOptions> = {}, issuer = ca) => issuer.serverMaterial({ addresses: ["127.0.0.1"], ...options });

describe("a bundle endpoint of `https_web`", () => {
  test("is verified by the CA of a file", async () => {
    assert.equal(await ask(web(), webProof()), "the bundle");
  });

  const selfSigned = new FakeCa("itself");
  const now = Date.now();
  const refused: readonly (readonly [string, () => Pick<TlsMaterial, "key" | "chain">, RegExp])[] = [
    ["another address in its certificate", () => web({ addresses: ["127.0.0.2"] }), /does not match certificate's altnames/],
    ["a name and no address", () => web({ addresses: [], dnsNames: ["west.example"] }), /does not match certificate's altnames/],
    [
      "an identity of the domain and no address",
      () => web({ addresses: [], identities: [ENDPOINT] }),
      /does not match certificate's altnames/,
    ],
    ["a certificate that has expired", () => web({ notBefore: now - 2 * HOUR_MS, notAfter: now - HOUR_MS }), /expired/],
    ["a certificate that is not valid yet", () => web({ notBefore: now + HOUR_MS }), /not yet valid/],
    ["a certificate of another CA", () => web({}, otherCa), /unable to (get local issuer|verify the first) certificate/],
    ["a certificate that it signed itself", () => web({}, selfSigned), /unable to (get local issuer|verify the first) certificate/],
    [
      "a root that it brings itself",
      () => {
        const { key, chain, roots } = web({}, selfSigned);
        return { key, chain: chain + roots };
      },
      /self-signed certificate/,
    ],
  ];
  for (const [what, material, reason] of refused)
    test(`is refused with ${what}`, async () => {
      await assert.rejects(ask(material(), webProof()), { code: "unavailable", message: reason });
    });

  test("is refused without a file of CAs, or with one that has none: only where no file is named is the Web PKI asked", async () => {
    const file = join(folder, "empty.pem");
    writeFileSync(file, "\n");
    await assert.rejects(ask(web(), webProof(file)), { code: "invalid-configuration", message: /no certificate in/ });
    await assert.rejects(ask(web(), webProof(join(folder, "missing.pem"))), { code: "unavailable" });
    await assert.rejects(ask(web(), { profile: "https_web", caFile: undefined }), { code: "unavailable", message: /certificate/ });
  });
});

describe("a bundle endpoint of `https_spiffe`", () => {
  const proof: EndpointProof = { profile: "https_spiffe", endpointSpiffeId: ENDPOINT, bundleFile: join(folder, "unused.json") };

  test("is verified by its SPIFFE ID and the domain's roots, whatever its address", async () => {
    assert.equal(await ask(ca.material(ENDPOINT), proof, { roots: ca.rootPem }), "the bundle");
  });

  const cases: readonly (readonly [string, () => TlsMaterial, string, string, RegExp])[] = [
    ["another SPIFFE ID", () => ca.material(`${ENDPOINT}2`), ca.rootPem, "permission-denied", /is not/],
    ["two SPIFFE IDs", () => ca.material(ENDPOINT, `${ENDPOINT}2`), ca.rootPem, "permission-denied", /is not/],
    ["its address alone", () => web(), ca.rootPem, "permission-denied", /is not/],
    ["a certificate of another root", () => otherCa.material(ENDPOINT), ca.rootPem, "unavailable", /certificate/],
    ["no root to verify it with", () => ca.material(ENDPOINT), "", "unavailable", /no root/],
  ];
  for (const [what, material, roots, code, message] of cases)
    test(`is refused with ${what}`, async () => {
      await assert.rejects(ask(material(), proof, { roots }), { code, message });
    });
});

describe("what a bundle endpoint answers is refused", () => {
  const answered = (answer: RequestListener, timeoutMs = 10_000) => ask(web(), webProof(), { answer, timeoutMs });

  test("when it is a redirect, wherever it leads to, and any other status", async () => {
    for (const status of [301, 307, 404, 500]) {
      const answer: RequestListener = (_request, response) => response.writeHead(status, { location: "/other" }).end("the bundle");
      await assert.rejects(answered(answer), { code: "unavailable", message: new RegExp(`status ${status}`) });
    }
  });

  test("when it is too much, and when it does not end in time", async () => {
    await assert.rejects(answered(says("x".repeat(1_048_577))), { code: "resource-exhausted" });
    const late: RequestListener = (_request, response) => void response.write("x");
    await assert.rejects(answered(late, 300), (error) => error instanceof AppError && error.code === "deadline-exceeded");
  });
});
