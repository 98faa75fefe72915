import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { certificateDigest, parseCertificates } from "./certificate.ts";
import { verifyChain } from "./chain.ts";
import { parseCsr } from "./csr.ts";
import { buildCsr, generateKey } from "./csr-builder.ts";
import { Issuer, makeRoot } from "./issuer.ts";
import { formatPem } from "./pem.ts";
import { Profile } from "./profile.ts";

const URI = "spiffe://cluster.local/ns/photo/sa/web";
const NOW = Date.now();

describe("beside the openssl command", () => {
  let folder = "";
  const file = (name: string) => join(folder, name);
  const openssl = (...args: readonly string[]) =>
    execFileSync("openssl", args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const caKey = generateKey();
  const root = makeRoot(caKey, { organization: "cluster.local", now: NOW, backdateSeconds: 120 });

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "x509-"));
    writeFileSync(file("root.pem"), formatPem("CERTIFICATE", root.der));
  });
  after(() => rmSync(folder, { recursive: true }));

  test("it verifies a request of ours and reads its name", () => {
    writeFileSync(file("ours.csr"), buildCsr(generateKey(), URI));
    assert.match(openssl("req", "-in", "ours.csr", "-noout", "-text", "-verify"), new RegExp(`critical\\s+URI:${URI}`));
  });

  test("we verify a request of its own, subject and all, and it verifies what we issue for it", () => {
    openssl(
      "req",
      "-new",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      "their.key",
      "-subj",
      "/O=photo/CN=web",
      "-addext",
      `subjectAltName=URI:${URI}`,
      "-out",
      "their.csr",
    );
    const { spki, names } = parseCsr(readFileSync(file("their.csr"), "utf8"));
    assert.deepEqual(names, [{ kind: "uri", value: URI }]);
    const profile = Profile.from({ defaultTtlSeconds: 86_400, maxTtlSeconds: 86_400, backdateSeconds: 120, dnsNames: "refused" });
    const issuer = new Issuer(root, caKey);
    const leaf = issuer.sign(issuer.prepare(profile, { spki, uri: URI, dnsNames: [], ttlSeconds: 0, now: NOW }));
    writeFileSync(file("leaf.pem"), formatPem("CERTIFICATE", leaf.der));
    for (const purpose of ["sslclient", "sslserver"]) {
      assert.match(openssl("verify", "-x509_strict", "-CAfile", "root.pem", "-purpose", purpose, "leaf.pem"), /leaf\.pem: OK/);
    }
    assert.match(
      openssl("x509", "-in", "leaf.pem", "-noout", "-fingerprint", "-sha256").replaceAll(":", "").toLowerCase(),
      new RegExp(certificateDigest(leaf)),
    );
    assert.equal(openssl("x509", "-in", "leaf.pem", "-noout", "-pubkey"), openssl("pkey", "-in", "their.key", "-pubout"));
  });

  test("we verify a chain of three that it made", () => {
    const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"];
    openssl("req", "-x509", ...ec, "-keyout", "r.key", "-out", "r.pem", "-subj", "/O=root", "-addext", "keyUsage=critical,keyCertSign");
    openssl(
      "req",
      "-x509",
      ...ec,
      "-keyout",
      "i.key",
      "-out",
      "i.pem",
      "-subj",
      "/O=middle",
      "-addext",
      "keyUsage=critical,keyCertSign",
      "-CA",
      "r.pem",
      "-CAkey",
      "r.key",
    );
    openssl(
      "req",
      "-x509",
      ...ec,
      "-keyout",
      "l.key",
      "-out",
      "l.pem",
      "-subj",
      "/",
      "-addext",
      "basicConstraints=critical,CA:FALSE",
      "-addext",
      "keyUsage=critical,digitalSignature",
      "-addext",
      "extendedKeyUsage=clientAuth",
      "-addext",
      `subjectAltName=critical,URI:${URI}`,
      "-CA",
      "i.pem",
      "-CAkey",
      "i.key",
    );
    const read = (name: string) => parseCertificates(readFileSync(file(name), "utf8"));
    const [leaf] = read("l.pem");
    assert.ok(leaf);
    const input = { leaf, intermediates: read("i.pem"), roots: read("r.pem"), time: Date.now() + 1000 };
    assert.equal(verifyChain({ ...input, purpose: "client" }).path.length, 3);
    assert.throws(() => verifyChain({ ...input, purpose: "server" }), {
      code: "unauthenticated",
      message: "the certificate is not meant for a server",
    });
  });
});
