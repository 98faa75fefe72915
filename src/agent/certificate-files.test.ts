import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Worker } from "node:worker_threads";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { generateKey, spkiOf } from "../x509/csr-builder.ts";
import { openCertificateFolder, readCertificateFiles, trustDomainsInFiles, writeCertificateFiles } from "./certificate-files.ts";
import { checkIssuedCertificate, exportKey, type IssuedCertificate } from "./issued-certificate.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/client";
const DAY_MS = 86_400_000;
const ca = new FakeCa();

function certificate(): IssuedCertificate {
  const privateKey = generateKey();
  const leaf = ca.sign({ spki: spkiOf(privateKey), identities: [IDENTITY] });
  return checkIssuedCertificate({ elements: [leaf, ca.rootPem], privateKey, identity: IDENTITY, now: Date.now() });
}

let folder: string;
beforeEach(() => {
  folder = openCertificateFolder(join(mkdtempSync(join(tmpdir(), "garrison-out-")), "certs"));
});
afterEach(() => rmSync(join(folder, ".."), { recursive: true }));

const read = (name: string) => readFileSync(join(folder, name), "utf8");

describe("the certificate as files", () => {
  it("is a key, a chain and the roots, for their owner alone", () => {
    const { privateKey, chain, roots, ...rest } = certificate();
    writeCertificateFiles(folder, { privateKey, chain, roots, ...rest });
    assert.deepEqual([read("key.pem"), read("cert-chain.pem"), read("root-cert.pem")], [exportKey(privateKey), chain, roots]);
    for (const name of ["key.pem", "cert-chain.pem", "root-cert.pem"]) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
  });

  it("has the roots of each trust domain in a file of its own, which goes with them, and never by a path", () => {
    const [own, others] = [
      certificate(),
      new Map([
        ["west.example", "west's\n"],
        ["..", "dots\n"],
        [`a${"b".repeat(254)}`, "long\n"],
      ]),
    ];
    writeCertificateFiles(folder, { ...own, otherRoots: others });
    assert.deepEqual(trustDomainsInFiles(folder), ["..", "cluster.local", "west.example"]);
    assert.deepEqual(
      [read("bundles/west.example.pem"), read("bundles/cluster.local.pem"), read("root-cert.pem")],
      ["west's\n", own.roots, own.roots],
    );
    assert.equal(statSync(join(folder, "bundles", "west.example.pem")).mode & 0o777, 0o600);
    assert.throws(() => writeCertificateFiles(folder, { ...own, otherRoots: new Map([["../../evil", "evil\n"]]) }), {
      code: "invalid-argument",
    });
    assert.deepEqual(trustDomainsInFiles(folder), ["..", "cluster.local", "west.example"]);
    writeCertificateFiles(folder, own);
    assert.deepEqual(trustDomainsInFiles(folder), ["cluster.local"]);
  });

  it("changes at one moment, keeps the generation before, and forgets older ones", () => {
    const [first, second, third] = [certificate(), certificate(), certificate()];
    writeCertificateFiles(folder, first);
    const atWork = realpathSync(join(folder, "..data"));
    writeCertificateFiles(folder, second);
    assert.equal(readFileSync(join(atWork, "key.pem"), "utf8"), exportKey(first.privateKey));
    writeCertificateFiles(folder, third);
    assert.equal(readdirSync(folder).filter((name) => name.startsWith("..") && name !== "..data").length, 2);
    assert.equal(read("cert-chain.pem"), third.chain);
  });

  it("never shows a reader who resolves `..data` a key beside another's certificate", async () => {
    writeCertificateFiles(folder, certificate());
    const worker = new Worker(READER, { eval: true, workerData: folder });
    const reads = new Promise<readonly (readonly [string, string])[]>((resolve, reject) =>
      worker.once("message", resolve).once("error", reject),
    );
    await new Promise((resolve) => worker.once("online", resolve));
    for (let renewals = 0; renewals < 40; renewals++) {
      writeCertificateFiles(folder, certificate());
      await new Promise((resolve) => setImmediate(resolve));
    }
    worker.postMessage("enough");
    const pairs = await reads;
    assert.ok(new Set(pairs.map(([chain]) => chain)).size > 1, `${pairs.length} reads saw one certificate`);
    for (const [chain, key] of pairs) assert.equal(new X509Certificate(chain).checkPrivateKey(createPrivateKey(key)), true);
  });

  it("is taken up again by the next run, while it is good", () => {
    assert.equal(readCertificateFiles(folder, Date.now()), undefined);
    const written = certificate();
    writeCertificateFiles(folder, written);
    const again = readCertificateFiles(folder, Date.now(), IDENTITY);
    assert.deepEqual([again?.serial, again?.identity, again?.chain], [written.serial, IDENTITY, written.chain]);
    assert.equal(readCertificateFiles(folder, Date.now())?.identity, IDENTITY);
    assert.equal(readCertificateFiles(folder, Date.now() + 2 * DAY_MS), undefined);
    assert.equal(readCertificateFiles(folder, Date.now(), "spiffe://cluster.local/ns/shop/sa/other"), undefined);
    writeFileSync(join(folder, "..data", "key.pem"), exportKey(generateKey()));
    assert.equal(readCertificateFiles(folder, Date.now(), IDENTITY), undefined);
  });

  it("is not written where others may write, nor over files of others", () => {
    const open = join(folder, "..", "open");
    mkdirSync(open);
    chmodSync(open, 0o777);
    assert.throws(() => openCertificateFolder(open), { code: "unsafe-permissions" });
    const taken = join(folder, "..", "taken");
    mkdirSync(taken, { mode: 0o700 });
    writeFileSync(join(taken, "key.pem"), "somebody's");
    assert.throws(() => openCertificateFolder(taken), { code: "already-exists" });
    assert.equal(openCertificateFolder(folder), folder);
  });
});

/** Reads pairs as fast as it can until it is told that it is enough. */
const READER = `
  const { parentPort, workerData } = require("node:worker_threads");
  const { readFileSync, realpathSync } = require("node:fs");
  const pairs = [];
  let enough = false;
  parentPort.once("message", () => { enough = true; });
  (function next() {
    try {
      const at = realpathSync(workerData + "/..data");
      pairs.push([readFileSync(at + "/cert-chain.pem", "utf8"), readFileSync(at + "/key.pem", "utf8")]);
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
    if (enough) parentPort.postMessage(pairs.slice(-5000));
    else setImmediate(next);
  })();
`;
