import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { AppError } from "../core/error.ts";
import { silentLogger } from "../core/logger.ts";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { parseCertificates } from "../x509/certificate.ts";
import { verifyChain } from "../x509/chain.ts";
import { buildCsr, generateKey, spkiOf } from "../x509/csr-builder.ts";
import { Issuer, type PreparedCertificate } from "../x509/issuer.ts";
import { type Authority, type IssueRequest, openAuthority } from "./authority.ts";

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const DAY = 86_400;
const identity = parseSpiffeId("spiffe://cluster.local/ns/photo/sa/web");
const URI = formatSpiffeId(identity);
const key = generateKey();

let parent = "";
let stateFolder = "";
let now = NOW;
const opened: Authority[] = [];

function open(trustDomain = "cluster.local"): Authority {
  const authority = openAuthority({
    stateFolder,
    trustDomain: parseTrustDomain(trustDomain),
    clock: { now: () => now },
    logger: silentLogger,
  });
  opened.push(authority);
  return authority;
}

function closeAll(): void {
  for (const authority of opened.splice(0)) authority.close();
}

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "authority-"));
  stateFolder = join(parent, "state");
  now = NOW;
});
afterEach(() => {
  closeAll();
  rmSync(parent, { recursive: true });
});

const request = (more: Partial<IssueRequest> = {}): IssueRequest => ({
  csr: buildCsr(key, URI),
  identity,
  ttlSeconds: 0,
  caller: "token",
  ...more,
});
const caFile = (name: string) => join(stateFolder, "ca", name);

describe("Authority.issue()", () => {
  test("issues a certificate whose only name is the caller's identity, and which verifies up to the root", async () => {
    const issued = await open().issue(request());
    const [leaf] = parseCertificates(issued.leaf);
    assert.ok(leaf);
    const { identity: proved, path } = verifyChain({
      leaf,
      intermediates: [],
      roots: parseCertificates(issued.roots),
      time: now,
      purpose: "client",
    });
    assert.deepEqual(proved, identity);
    assert.equal(path.length, 2);
    assert.deepEqual(leaf.names, [{ kind: "uri", value: URI }]);
    assert.deepEqual(Buffer.from(leaf.spki), Buffer.from(spkiOf(key)));
    assert.deepEqual([issued.serial, issued.notBefore, issued.notAfter], [leaf.serial, NOW - 120_000, NOW + DAY * 1000]);
    assert.deepEqual(issued.intermediates, []);
  });

  test("writes intent and outcome to the ledger", async () => {
    const authority = open();
    const { leaf, serial, notBefore, notAfter } = await authority.issue(request());
    const sha256 = new X509Certificate(leaf).fingerprint256.replaceAll(":", "").toLowerCase();
    const { subjectKeyId: keyId, authorityKeyId: authorityId } = parseCertificates(leaf)[0] ?? {};
    assert.deepEqual(authority.ledger.certificates({ limit: 10 }), [
      {
        serial,
        identity: URI,
        caller: "token",
        notBefore,
        notAfter,
        recordedAt: NOW,
        state: "issued",
        sha256,
        leaf: 0,
        keyId,
        authority: authorityId,
      },
    ]);
  });

  test("gives an asked-for life up to 90 days, refuses more with the limit, and never outlives the root", async () => {
    const authority = open();
    assert.equal((await authority.issue(request({ ttlSeconds: 90 * DAY }))).notAfter, NOW + 90 * DAY * 1000);
    await assert.rejects(authority.issue(request({ ttlSeconds: 90 * DAY + 1 })), {
      code: "invalid-argument",
      message: "the requested TTL 7776001 s is greater than the max allowed TTL 7776000 s",
    });
    const [root] = authority.trust.roots;
    now = (root?.notAfter ?? 0) - 1000;
    assert.equal((await authority.issue(request())).notAfter, root?.notAfter);
  });

  test("takes a request without names, and refuses one with any other name than the caller's", async () => {
    const authority = open();
    for (const uri of [
      "spiffe://cluster.local/ns/photo/sa/db",
      "spiffe://other/ns/photo/sa/web",
      "spiffe://cluster.local/ns/photo/sa/web2",
    ]) {
      await assert.rejects(authority.issue(request({ csr: buildCsr(key, uri) })), {
        code: "permission-denied",
        message: "the certificate request asks for a name other than the caller's identity",
      });
    }
    assert.equal(authority.ledger.certificates({ limit: 10 }).length, 0);
    assert.deepEqual(authority.ledger.refusals({ limit: 1 }), [
      {
        recordedAt: NOW,
        identity: URI,
        caller: "token",
        reason: "permission-denied: the certificate request asks for a name other than the caller's identity",
        kind: "certificate",
      },
    ]);
  });

  test("refuses bad signatures, other keys and garbage, and records why", async () => {
    const authority = open();
    const good = buildCsr(key, URI);
    const body = Buffer.from(good.replace(/-----.*-----|\n/g, ""), "base64");
    const last = body.length - 1;
    body[last] = (body[last] ?? 0) ^ 1;
    const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${body.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
    const cases = [
      [forged, /not signed by the key it holds/],
      [buildCsr(generateKey("Ed25519"), URI), /the public key is Ed25519, and Envoy takes no such certificate/],
      ["", /exactly one/],
      ["\0", /blocks alone/],
      [good + good, /exactly one/],
    ] as const;
    for (const [csr, message] of cases)
      await assert.rejects(authority.issue(request({ csr })), { name: "AppError", code: "invalid-argument", message });
    assert.equal(authority.ledger.refusals({ limit: 100 }).length, cases.length);
    assert.equal(authority.ledger.certificates({ limit: 10 }).length, 0);
  });

  test("never signs an identity of another trust domain", async () => {
    const foreign = parseSpiffeId("spiffe://other/ns/photo/sa/web");
    await assert.rejects(open().issue(request({ identity: foreign, csr: buildCsr(key, formatSpiffeId(foreign)) })), {
      code: "permission-denied",
      message: /not of the trust domain `cluster\.local`/,
    });
  });

  test("signs nothing while the clock is outside the root's life (clock skew)", async () => {
    const authority = open();
    for (const skewed of [NOW - 121_000, NOW + 11 * 365 * DAY * 1000]) {
      now = skewed;
      await assert.rejects(authority.issue(request()), { code: "unavailable", message: "the CA's certificate is not valid at this time" });
    }
    now = NOW - 119_000;
    assert.equal((await authority.issue(request())).notBefore, now - 120_000);
  });

  test("signs nothing that the ledger cannot record", async () => {
    const authority = open();
    authority.ledger.close();
    opened.splice(0);
    await assert.rejects(authority.issue(request()), {
      name: "AppError",
      code: "unavailable",
      message: "the issuance ledger cannot be written",
    });
  });

  test("hands out nothing when the signed certificate is not the one that was asked for, and records the failure", async (context) => {
    const authority = open();
    const { certify } = Issuer.prototype;
    const stranger = parseSpiffeId("spiffe://cluster.local/ns/photo/sa/db");
    const other = parseCertificates(
      (await authority.issue(request({ identity: stranger, csr: buildCsr(key, formatSpiffeId(stranger)) }))).leaf,
    )[0];
    const signed = context.mock.method(Issuer.prototype, "certify", async function (this: Issuer, prepared: PreparedCertificate) {
      return { ...(await certify.call(this, prepared)), names: other?.names ?? [] };
    });
    await assert.rejects(authority.issue(request()), { code: "internal", message: "the signed certificate is not what was asked for" });
    signed.mock.mockImplementation(() => {
      throw new Error("the signer is broken");
    });
    await assert.rejects(authority.issue(request()), { name: "AppError", code: "internal" });
    assert.deepEqual(
      authority.ledger.certificates({ limit: 10 }).map(({ identity: uri, state }) => [uri, state]),
      [
        [URI, "failed"],
        [URI, "failed"],
        [formatSpiffeId(stranger), "issued"],
      ],
    );
    assert.equal(authority.ledger.refusals({ limit: 10 }).length, 2);
  });

  test("certifies DNS names for the control plane alone", async () => {
    const [leaf] = parseCertificates((await open().issueServing(request(), ["localhost"])).leaf);
    assert.deepEqual(leaf?.names, [
      { kind: "uri", value: URI },
      { kind: "dns", value: "localhost" },
    ]);
  });
});

describe("openAuthority()", () => {
  test("makes a root for ten years the first time, in files that nobody else can read, and loads the same one later", async () => {
    const [first] = open().trust.roots;
    closeAll();
    assert.equal(first?.notAfter, NOW + 10 * 365 * DAY * 1000);
    const modes = ["", "root-cert.pem", "ca-key.pem", "ledger.sqlite"].map((name) => statSync(caFile(name)).mode & 0o777);
    assert.deepEqual(modes, [0o700, 0o600, 0o600, 0o600]);
    assert.deepEqual(readdirSync(stateFolder), ["ca"]);
    now += 1000;
    const again = open();
    assert.equal(again.trust.roots[0]?.serial, first?.serial);
    assert.equal(parseCertificates((await again.issue(request())).leaf)[0]?.authorityKeyId, first?.subjectKeyId);
  });

  test("refuses a state folder, a CA folder or a key that others may read, and says what to chmod", () => {
    mkdirSync(stateFolder);
    chmodSync(stateFolder, 0o755);
    assert.throws(() => open(), { code: "unsafe-permissions", help: `chmod 0700 ${stateFolder}` });
    chmodSync(stateFolder, 0o700);
    open();
    closeAll();
    for (const [path, bad, good] of [
      [caFile(""), 0o750, 0o700],
      [caFile("ca-key.pem"), 0o644, 0o600],
      [caFile("root-cert.pem"), 0o666, 0o600],
    ] as const) {
      chmodSync(path, bad);
      assert.throws(() => open(), { code: "unsafe-permissions", message: /can be used by others/ });
      chmodSync(path, good);
    }
    open();
  });

  test("refuses CA files that are missing, damaged or strangers to each other, and replaces none", () => {
    open();
    closeAll();
    const original = {
      "root-cert.pem": readFileSync(caFile("root-cert.pem"), "utf8"),
      "ca-key.pem": readFileSync(caFile("ca-key.pem"), "utf8"),
    };
    const write = (name: string, text: string) => writeFileSync(caFile(name), text, { mode: 0o600 });
    const otherKey = generateKey().export({ type: "pkcs8", format: "pem" }).toString();
    const rsaKey = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const pem = original["root-cert.pem"];
    const cases = [
      ["ca-key.pem", undefined, /CA key is missing/],
      ["root-cert.pem", undefined, /CA certificate is missing/],
      ["ca-key.pem", "", /file is damaged/],
      ["ca-key.pem", original["ca-key.pem"].slice(0, 90), /file is damaged/],
      ["ca-key.pem", otherKey, /do not belong together/],
      ["ca-key.pem", rsaKey, /do not belong together/],
      ["root-cert.pem", "", /file is damaged/],
      ["root-cert.pem", pem.slice(0, 200), /file is damaged/],
      ["root-cert.pem", pem.replace("A", "B"), /file is damaged|not signed by its own key|do not belong/],
      ["root-cert.pem", pem + pem, /2 certificates where the CA's one belongs/],
    ] as const;
    for (const [name, text, message] of cases) {
      rmSync(caFile(name));
      if (text !== undefined) write(name, text);
      assert.throws(
        () => open(),
        (error) => {
          assert.ok(error instanceof AppError);
          assert.equal(error.code, "invalid-configuration");
          assert.match(error.message, message);
          assert.equal(error.where, caFile(name));
          assert.doesNotMatch(JSON.stringify([error.message, error.help, error.cause]), /PRIVATE|MIG/);
          return true;
        },
      );
      write(name, original[name]);
    }
    open();
  });

  test("does not make a new CA where other files show that there was one", () => {
    open();
    closeAll();
    rmSync(caFile("ca-key.pem"));
    rmSync(caFile("root-cert.pem"));
    assert.throws(() => open(), { code: "invalid-configuration", message: /neither `ca-key\.pem` nor `root-cert\.pem`/ });
  });

  test("starts from nothing after a crash in the middle of the first start", async () => {
    mkdirSync(join(stateFolder, "ca.new"), { recursive: true, mode: 0o700 });
    chmodSync(stateFolder, 0o700);
    writeFileSync(join(stateFolder, "ca.new", "ca-key.pem"), "half a key", { mode: 0o600 });
    await open().issue(request());
    assert.deepEqual(readdirSync(stateFolder), ["ca"]);
  });

  test("refuses the CA of another trust domain", () => {
    open();
    closeAll();
    assert.throws(() => open("example.org"), {
      code: "invalid-configuration",
      message: "the CA certificate is not of the trust domain `example.org`",
    });
  });

  test("refuses a state folder that another control plane has open", () => {
    open();
    assert.throws(() => open(), { code: "unavailable", message: /in use by another process/ });
  });
});
