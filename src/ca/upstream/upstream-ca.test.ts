import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";
import { RecordingLogger } from "../../../test/fakes/recording-logger.ts";
import { OpensslCa } from "../../../test/fixture/openssl-ca.ts";
import { AppError } from "../../core/error.ts";
import { formatSpiffeId, parseSpiffeId } from "../../identity/spiffe-id.ts";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import { buildCsr, generateKey } from "../../x509/csr-builder.ts";
import { type Authority, openAuthority } from "../authority.ts";
import type { Upstream, UpstreamRequest } from "./model.ts";
import { UpstreamCa } from "./upstream-ca.ts";

const folder = mkdtempSync(join(tmpdir(), "upstream-"));
after(() => rmSync(folder, { recursive: true }));
const ca = new OpensslCa(folder);
ca.make("root");
ca.make("middle", { parent: "root" });
ca.make("other");
const identity = parseSpiffeId("spiffe://cluster.local/ns/shop/sa/web");
const URI = formatSpiffeId(identity);

interface LeafOptions {
  readonly signer?: string;
  readonly days?: number;
  readonly names?: string;
  readonly constraints?: string;
  readonly usage?: string;
  readonly purposes?: string;
  readonly start?: string;
  readonly end?: string;
  /** Whose request is signed; that which came without one. */
  readonly csr?: string;
}

/** Signs as another CA would, by openssl. */
function sign(request: UpstreamRequest, options: LeafOptions = {}): string {
  const {
    signer = "middle",
    days = 1,
    names = `URI:${URI}`,
    constraints = "critical,CA:FALSE",
    usage = "critical,digitalSignature",
  } = options;
  const extensions = [
    `subjectAltName=critical,${names}`,
    `basicConstraints=${constraints}`,
    `keyUsage=${usage}`,
    `extendedKeyUsage=${options.purposes ?? "serverAuth,clientAuth"}`,
  ];
  writeFileSync(join(folder, "leaf.csr"), options.csr ?? request.csr);
  writeFileSync(join(folder, "leaf.ext"), `${extensions.join("\n")}\n`);
  const life = ["-days", String(days)];
  ca.run(
    "x509",
    "-req",
    "-in",
    "leaf.csr",
    "-CA",
    `${signer}.pem`,
    "-CAkey",
    `${signer}.key`,
    "-CAcreateserial",
    ...life,
    "-extfile",
    "leaf.ext",
    "-out",
    "leaf.pem",
  );
  return ca.text("leaf.pem");
}

let state = 0;
let authority: Authority;
let answer: Upstream["request"];
let asked = 0;
let logger = new RecordingLogger();
let time = 0;
const clock = { now: () => Date.now() + time };

beforeEach(() => {
  asked = 0;
  time = 0;
  logger = new RecordingLogger();
  answer = async (request) => [sign(request), ca.text("middle.pem")];
  const upstream: Upstream = {
    name: "a CA",
    request(request, signal) {
      asked += 1;
      return answer(request, signal);
    },
    close: () => undefined,
  };
  const source = new UpstreamCa({ connect: () => upstream, rootsFile: join(folder, "root.pem"), clock, logger, attemptMs: 200 });
  const trustDomain = parseTrustDomain("cluster.local");
  authority = openAuthority({ stateFolder: join(folder, `state-${state++}`), trustDomain, clock, logger, ca: source });
});
afterEach(() => authority.close());

const issue = () => authority.issue({ csr: buildCsr(generateKey(), URI), identity, ttlSeconds: 0, caller: "token" });
const states = () => authority.ledger.certificates({ limit: 10 }).map((row) => row.state);

async function refuses(why: RegExp): Promise<void> {
  await assert.rejects(issue(), { code: "unavailable", message: "the certificate authority behind this one does not sign" });
  assert.match(authority.status.problem ?? "", why);
  assert.deepEqual(states(), ["failed"]);
  assert.equal(authority.log.size, 0);
}

describe("a CA that another one signs for", () => {
  test("hands out what was asked for, with the serial number that the other chose in ledger and log", async () => {
    const issued = await authority.recorded(await issue());
    assert.deepEqual(issued.intermediates.length, 1);
    const row = authority.ledger.find(issued.serial);
    assert.deepEqual([row?.state, row?.notAfter, row?.leaf], ["issued", issued.notAfter, 0]);
    await authority.log.published();
    assert.match(Buffer.from([...authority.log.reader.entries()][0] ?? []).toString(), new RegExp(`"serial":"${issued.serial}"`));
    assert.equal(authority.status.notAfter !== undefined, true);
    assert.deepEqual(authority.trust.intermediates.length, 1);
  });

  test("takes key usages that an SVID may have besides its signature, as istiod writes them for every kind of key", async () => {
    const usage = "critical,digitalSignature,keyEncipherment,keyAgreement";
    answer = async (request) => [sign(request, { usage }), ca.text("middle.pem")];
    assert.equal((await authority.recorded(await issue())).intermediates.length, 1);
  });

  const bad: Readonly<Record<string, readonly [Upstream["request"], RegExp]>> = {
    "the certificate of another key": [async (r) => [sign(r, { csr: buildCsr(generateKey(), URI) }), ca.text("middle.pem")], /another key/],
    "another identity": [
      async (r) => [sign(r, { names: "URI:spiffe://cluster.local/ns/shop/sa/db" }), ca.text("middle.pem")],
      /other names/,
    ],
    "two identities": [
      async (r) => [sign(r, { names: `URI:${URI},URI:spiffe://cluster.local/ns/shop/sa/db` }), ca.text("middle.pem")],
      /other names/,
    ],
    "a DNS name besides": [async (r) => [sign(r, { names: `URI:${URI},DNS:bank.example` }), ca.text("middle.pem")], /other names/],
    "a CA certificate": [
      async (r) => [sign(r, { constraints: "critical,CA:TRUE", usage: "critical,digitalSignature,keyCertSign" }), ca.text("middle.pem")],
      /is a CA's/,
    ],
    "one that may sign certificates": [
      async (r) => [sign(r, { usage: "critical,digitalSignature,keyCertSign" }), ca.text("middle.pem")],
      /may sign certificates/,
    ],
    "one that may sign other things": [
      async (r) => [sign(r, { usage: "critical,digitalSignature,nonRepudiation" }), ca.text("middle.pem")],
      /key usage is not one of a leaf SVID/,
    ],
    "one that signs nothing": [
      async (r) => [sign(r, { usage: "critical,keyAgreement" }), ca.text("middle.pem")],
      /key usage|not meant|may not/,
    ],
    "one for servers alone": [async (r) => [sign(r, { purposes: "serverAuth" }), ca.text("middle.pem")], /not meant for a client/],
    "one of another root": [async (r) => [sign(r, { signer: "other" }), ca.text("other.pem")], /the certificate .*(root|issuer|trusted)/],
    "one without its intermediate": [async (r) => [sign(r)], /the certificate .*(root|issuer|trusted)/],
    "one that lives longer than asked for": [async (r) => [sign(r, { days: 3 }), ca.text("middle.pem")], /lives longer/],
    nothing: [async () => [], /no certificate/],
    "what is no certificate": [async () => ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"], /refused/],
    "a flood": [async (r) => [sign(r), ca.text("middle.pem").repeat(200)], /longer than/],
  };
  for (const [what, [request, why]] of Object.entries(bad)) {
    test(`refuses ${what}: nothing is handed out or logged, and the ledger has a failure`, async () => {
      answer = request;
      await refuses(why);
    });
  }

  test("refuses a certificate that was made for an earlier request of the same key, and one that is not valid yet", async () => {
    const request = { csr: buildCsr(generateKey(), URI), identity, ttlSeconds: 0, caller: "token" };
    const kept = sign({ csr: request.csr, uri: URI, ttlSeconds: 0 }, { days: 2 });
    answer = async () => [kept, ca.text("middle.pem")];
    time = 24 * 3_600_000;
    await assert.rejects(authority.issue(request));
    assert.match(authority.status.problem ?? "", /long before it was asked for/);
    time = -3_600_000;
    await assert.rejects(authority.issue(request));
    assert.match(authority.status.problem ?? "", /lives longer|not valid yet/);
  });

  test("hands out no certificate whose serial number was revoked", async () => {
    const request = { csr: buildCsr(generateKey(), URI), identity, ttlSeconds: 0, caller: "token" };
    const kept = sign({ csr: request.csr, uri: URI, ttlSeconds: 0 });
    answer = async () => [kept, ca.text("middle.pem")];
    const { serial } = await authority.issue(request);
    authority.revocations.revoke(authority.ledger.certificates({ serial, limit: 1 }), "keyCompromise", Date.now());
    await assert.rejects(authority.issue(request), /revoked/);
  });

  test("asks twice where no answer came, in time, and once where it was refused", async () => {
    answer = () => new Promise(() => undefined);
    const began = performance.now();
    await refuses(/did not answer in time/);
    assert.ok(performance.now() - began < 2000);
    assert.equal(asked, 2);
    answer = async () => {
      throw new AppError("permission-denied", "it refused (403): no");
    };
    await assert.rejects(issue());
    assert.equal(asked, 3);
  });

  test("leaves a CA alone that has failed five times, asks again after a second, and says when it signs again", async () => {
    const works = answer;
    answer = async () => {
      throw new AppError("unavailable", "it cannot be asked: connect ECONNREFUSED");
    };
    for (let i = 0; i < 6; i++) await assert.rejects(issue(), { code: "unavailable" });
    assert.equal(asked, 5);
    answer = works;
    await assert.rejects(issue(), { code: "unavailable" });
    time += 1000;
    await issue();
    assert.equal(authority.status.problem, undefined);
    assert.ok(logger.messages.includes("info: the other CA signs again"));
  });
});
