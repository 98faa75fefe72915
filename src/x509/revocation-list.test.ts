import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { AppError } from "../core/error.ts";
import { parseCsr } from "./csr.ts";
import { buildCsr, generateKey } from "./csr-builder.ts";
import { Issuer, makeRoot } from "./issuer.ts";
import { formatPem } from "./pem.ts";
import { Profile } from "./profile.ts";
import { isRevocationListOf, parseRevocationList, parseRevocationLists, type RevocationListFields } from "./revocation-list.ts";

const NOW = Math.floor(Date.now() / 1000) * 1000;
const DAY = 24 * 3600 * 1000;
const URI = "spiffe://cluster.local/ns/photo/sa/web";
const key = generateKey();
const root = makeRoot(key, { organization: "cluster.local", now: NOW, backdateSeconds: 120 });
const issuer = new Issuer(root, key);
const profile = Profile.from({ defaultTtlSeconds: 86_400, maxTtlSeconds: 86_400, backdateSeconds: 120, dnsNames: "refused" });

function leaf() {
  const { spki } = parseCsr(buildCsr(generateKey(), URI));
  return issuer.sign(issuer.prepare(profile, { spki, uri: URI, dnsNames: [], ttlSeconds: 0, now: NOW }));
}

function fields(...serials: readonly string[]): RevocationListFields {
  const revoked = serials.map((serial) => ({ serial, revokedAt: NOW, reason: "keyCompromise" as const }));
  return { number: 7, thisUpdate: NOW, nextUpdate: NOW + DAY, revoked };
}

test("a list is read as it was written", () => {
  const list = parseRevocationList(issuer.signRevocationList(fields("4a01", "80ff")));
  assert.deepEqual([...list.serials], ["4a01", "80ff"]);
  assert.deepEqual([list.number, list.thisUpdate, list.nextUpdate], [7, NOW, NOW + DAY]);
  assert.equal(list.authorityKeyId, root.subjectKeyId);
  assert.ok(isRevocationListOf(list, root));
});

test("a list of another issuer of the same name is none of ours", () => {
  const otherKey = generateKey();
  const other = makeRoot(otherKey, { organization: "cluster.local", now: NOW, backdateSeconds: 120 });
  const list = parseRevocationList(new Issuer(other, otherKey).signRevocationList(fields("01")));
  assert.equal(isRevocationListOf(list, root), false);
});

test("a list that was changed is none of ours", () => {
  const der = Buffer.from(issuer.signRevocationList(fields("4a01")));
  const at = der.indexOf(Buffer.from("02024a01", "hex"));
  assert.ok(at > 0);
  der[at + 3] = 0x02;
  assert.equal(isRevocationListOf(parseRevocationList(der), root), false);
});

test("what is cut, bent or grown is refused, and never more than that", () => {
  const der = issuer.signRevocationList(fields("4a01", "4a02"));
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.integer({ min: 0, max: 255 }), fc.constantFrom("set", "cut", "grow"), (at, byte, how) => {
      const bent = how === "set" ? Uint8Array.from(der).with(at, byte) : how === "cut" ? der.slice(0, at) : Uint8Array.from([...der, byte]);
      try {
        parseRevocationList(bent);
      } catch (error) {
        assert.ok(error instanceof AppError && error.code === "invalid-argument");
      }
    }),
    { numRuns: 2000 },
  );
});

test("ten thousand certificates fit in one list", () => {
  const serials = Array.from({ length: 10_000 }, (_, index) => (0x40000000 + index).toString(16));
  const list = parseRevocationList(issuer.signRevocationList(fields(...serials)));
  assert.equal(list.serials.size, 10_000);
  assert.ok(isRevocationListOf(list, root));
});

describe("beside the openssl command", () => {
  let folder = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "crl-"));
    writeFileSync(join(folder, "root.pem"), formatPem("CERTIFICATE", root.der));
  });
  after(() => rmSync(folder, { recursive: true }));
  const openssl = (...args: readonly string[]) =>
    execFileSync("openssl", args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  const write = (name: string, label: "CERTIFICATE" | "X509 CRL", der: Uint8Array) =>
    writeFileSync(join(folder, name), formatPem(label, der));

  test("it refuses a revoked certificate and takes another", () => {
    const [revoked, good] = [leaf(), leaf()];
    write("revoked.pem", "CERTIFICATE", revoked.der);
    write("good.pem", "CERTIFICATE", good.der);
    write("list.pem", "X509 CRL", issuer.signRevocationList(fields(revoked.serial)));
    const verify = (name: string) => openssl("verify", "-crl_check", "-CAfile", "root.pem", "-CRLfile", "list.pem", name);
    assert.equal(verify("good.pem"), "good.pem: OK\n");
    assert.throws(() => verify("revoked.pem"), /certificate revoked/);
  });

  test("it reads reasons and number, and verifies an empty list", () => {
    const revoked = [
      { serial: "4a01", revokedAt: NOW, reason: "keyCompromise" as const },
      { serial: "4a02", revokedAt: NOW, reason: "unspecified" as const },
      { serial: "4a03", revokedAt: NOW, reason: "privilegeWithdrawn" as const },
    ];
    write("list.pem", "X509 CRL", issuer.signRevocationList({ ...fields(), number: 300, revoked }));
    const text = openssl("crl", "-in", "list.pem", "-noout", "-text");
    assert.match(text, /Version 2/);
    assert.match(text, /CRL Number:\s+0x012C|CRL Number:\s+300/);
    assert.equal(text.match(/CRL Reason Code/g)?.length, 2);
    assert.match(text, /Key Compromise[\s\S]*Privilege Withdrawn/);
    write("empty.pem", "X509 CRL", issuer.signRevocationList(fields()));
    assert.match(openssl("crl", "-in", "empty.pem", "-noout", "-text", "-CAfile", "root.pem"), /No Revoked Certificates/);
  });

  test("we read a list that it made", () => {
    writeFileSync(join(folder, "ca.key"), key.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(join(folder, "index.txt"), `R\t${"400101000000Z"}\t260102030405Z,keyCompromise\t4A01\tunknown\t/O=a\n`);
    writeFileSync(join(folder, "crlnumber"), "2A\n");
    const config =
      "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=1\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n";
    writeFileSync(join(folder, "ca.cnf"), config);
    const pem = openssl("ca", "-config", "ca.cnf", "-gencrl", "-keyfile", "ca.key", "-cert", "root.pem");
    const [list, ...others] = parseRevocationLists(pem);
    assert.equal(others.length, 0);
    assert.deepEqual([...(list?.serials ?? [])], ["4a01"]);
    assert.equal(list?.number, 42);
    assert.ok(list !== undefined && isRevocationListOf(list, root));
  });
});
