/** A CA whose key is in a real PKCS #11 token. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { type Authority, openAuthority } from "../../src/ca/authority.ts";
import { TokenThread } from "../../src/ca/pkcs11/thread.ts";
import { openTokenCa } from "../../src/ca/pkcs11/token-ca.ts";
import { openTokenSigner } from "../../src/ca/pkcs11/token-signer.ts";
import { parsePkcs11Uri } from "../../src/ca/pkcs11/uri.ts";
import type { AppError } from "../../src/core/error.ts";
import { formatSpiffeId, parseSpiffeId } from "../../src/identity/spiffe-id.ts";
import { parseTrustDomain } from "../../src/identity/trust-domain.ts";
import { buildCaCsr, buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { RecordingLogger } from "../fakes/recording-logger.ts";
import { OpensslCa } from "../fixture/openssl-ca.ts";
import { SoftHsm } from "../fixture/softhsm.ts";

const folder = mkdtempSync(join(tmpdir(), "token-"));
const hsm = new SoftHsm(join(folder, "hsm"));
process.env.SOFTHSM2_CONF = hsm.env.SOFTHSM2_CONF;
const ca = new OpensslCa(join(folder, "openssl"));
const identity = parseSpiffeId("spiffe://cluster.local/ns/shop/sa/web");
const trustDomain = parseTrustDomain("cluster.local");
const logger = new RecordingLogger();
const opened: Authority[] = [];
let states = 0;
after(() => {
  for (const authority of opened) authority.close();
  rmSync(folder, { recursive: true });
});

const newState = () => join(folder, `state-${states++}`);

/** An authority by a key of the token; one at a time, as a library is one process's. */
async function open(key: string, stateFolder: string, caFolder?: string): Promise<Authority> {
  for (const authority of opened.splice(0)) authority.close();
  const base = { stateFolder, trustDomain, clock: Date, logger };
  const source = await openTokenCa({ ...base, location: parsePkcs11Uri(hsm.uri(key)), ...(caFolder === undefined ? {} : { caFolder }) });
  const authority = openAuthority({ ...base, ca: source });
  opened.push(authority);
  return authority;
}

function issue(authority: Authority) {
  return authority.issue({ csr: buildCsr(generateKey(), formatSpiffeId(identity)), identity, ttlSeconds: 0, caller: "token" });
}

/** What openssl says of a leaf and the list of the revoked. */
async function verifyWithOpenssl(authority: Authority): Promise<void> {
  const { leaf, intermediates, roots } = await issue(authority);
  for (const [name, text] of Object.entries({
    leaf,
    chain: intermediates.join("") || roots,
    trusted: roots,
    list: (await authority.lists.served()).map(({ pem }) => pem).join(""),
  }))
    writeFileSync(join(folder, "openssl", `${name}.pem`), text);
  assert.match(ca.run("verify", "-x509_strict", "-CAfile", "trusted.pem", "-untrusted", "chain.pem", "leaf.pem"), /OK/);
  const issuer = intermediates.length === 0 ? "trusted.pem" : "chain.pem";
  ca.run("crl", "-in", "list.pem", "-CAfile", issuer, "-noout");
}

describe("a CA by a token's key", () => {
  test("makes the key and signs a root of its own on the first start, and has the same later", async () => {
    const state = newState();
    const first = await open("own", state);
    await verifyWithOpenssl(first);
    const { serial, source, keyKind } = first.status;
    assert.deepEqual([source, keyKind], ["key own of the token garrison", "P-256"]);
    const again = await open("own", state);
    assert.equal(again.status.serial, serial);
    await verifyWithOpenssl(again);
  });

  for (const kind of ["P-256", "P-384", "RSA"] as const) {
    test(`of ${kind} signs under the operator's root, by a request that the token signed`, async () => {
      const location = parsePkcs11Uri(hsm.uri(`mesh-${kind}`));
      for (const authority of opened.splice(0)) authority.close();
      const signer = await openTokenSigner({ location, logger, make: kind });
      writeFileSync(join(folder, "openssl", "mesh.csr"), await buildCaCsr(signer, "Example Mesh"));
      signer.close();
      ca.make("root");
      writeFileSync(
        join(folder, "openssl", "ext"),
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n",
      );
      ca.run(
        "x509",
        "-req",
        "-in",
        "mesh.csr",
        "-CA",
        "root.pem",
        "-CAkey",
        "root.key",
        "-CAcreateserial",
        "-days",
        "30",
        "-extfile",
        "ext",
        "-out",
        "mesh.pem",
      );
      const caFolder = join(folder, `cacerts-${kind}`);
      mkdirSync(caFolder, { mode: 0o700 });
      for (const [name, from] of [
        ["ca-cert", "mesh"],
        ["cert-chain", "mesh"],
        ["root-cert", "root"],
      ] as const)
        writeFileSync(join(caFolder, `${name}.pem`), ca.text(`${from}.pem`));
      const authority = await open(`mesh-${kind}`, newState(), caFolder);
      assert.deepEqual([authority.status.keyKind, authority.status.intermediates], [kind, 1]);
      await verifyWithOpenssl(authority);
    });
  }

  test("takes a key that was imported, and warns where the token would give it away", async () => {
    ca.make("brought");
    ca.run("pkcs8", "-topk8", "-nocrypt", "-in", "brought.key", "-out", "brought.p8");
    hsm.import(join(folder, "openssl", "brought.p8"), "brought", "0b");
    const caFolder = join(folder, "cacerts-brought");
    ca.plug(caFolder, "brought", ["brought"]);
    rmSync(join(caFolder, "ca-key.pem"));
    await verifyWithOpenssl(await open("brought", newState(), caFolder));
  });

  test("refuses a folder with a key beside the token, and certificates of another key", async () => {
    ca.make("other");
    const caFolder = join(folder, "cacerts-other");
    ca.plug(caFolder, "other", ["other"]);
    await assert.rejects(open("own", newState(), caFolder), {
      code: "invalid-configuration",
      message: /the CA's key is in a token, and here is one as well/,
    });
    rmSync(join(caFolder, "ca-key.pem"));
    await assert.rejects(open("own", newState(), caFolder), { code: "invalid-configuration", message: /do not belong together/ });
  });

  test("makes no second key: a start whose key is gone is refused", async () => {
    const state = newState();
    await open("own", state);
    await assert.rejects(open("missing", state), { code: "not-found", message: "there is no key missing of the token garrison" });
  });

  test("signs nothing while the token is out, records why, and signs again when it is back, with nobody's help", async () => {
    const authority = await open("own", newState());
    await issue(authority);
    hsm.takeOut();
    await assert.rejects(issue(authority), { code: "unavailable", message: "the CA's key cannot be reached" });
    assert.match(authority.status.problem ?? "", /the token does not sign: the token garrison is not there/);
    assert.deepEqual(
      authority.ledger.certificates({ limit: 2 }).map(({ state }) => state),
      ["failed", "issued"],
    );
    hsm.putBack();
    await until("the token signs again", async () => authority.status.problem === undefined);
    await verifyWithOpenssl(authority);
  });

  test("does not try a refused PIN again, and takes the right one from the file without a restart", async () => {
    const authority = await open("own", newState());
    hsm.takeOut();
    await assert.rejects(issue(authority));
    hsm.writePin("wrong-pin");
    hsm.putBack();
    await assert.rejects(issue(authority));
    assert.match(authority.status.problem ?? "", /refuses the PIN \(CKR_PIN_INCORRECT\)/);
    await assert.rejects(issue(authority));
    assert.match(authority.status.problem ?? "", /has refused this PIN, and it is not tried again/);
    hsm.writePin();
    await issue(authority);
    assert.equal(authority.status.problem, undefined);
    assert.doesNotMatch(JSON.stringify(logger.lines), /wrong-pin|4711/);
  });

  test("a hundred requests at a time are all signed, each by the one key", async () => {
    const authority = await open("own", newState());
    const issued = await Promise.all(Array.from({ length: 100 }, () => issue(authority)));
    assert.equal(new Set(issued.map(({ serial }) => serial)).size, 100);
  });
});

test("a token that does not answer ends nobody's wait but its own: `unavailable` in time, at once from then on, and asked again once it has answered", async () => {
  // A vendor's library that takes its time, and then fails.
  const library = join(folder, "slow.so");
  const answer = `if (access("${folder}/asked", 0) != 0) { creat("${folder}/asked", 0600); sleep(2); } return 5;`;
  writeFileSync(
    join(folder, "slow.c"),
    `#include <fcntl.h>\n#include <unistd.h>\nunsigned long C_GetFunctionList(void **list) { ${answer} }\n`,
  );
  execFileSync("cc", ["-shared", "-fPIC", "-o", library, join(folder, "slow.c")]);
  const thread = new TokenThread(parsePkcs11Uri(`pkcs11:token=a;object=b?module-path=${library}&pin-source=${hsm.pinFile}`), 1000);
  const open = () => thread.ask({ kind: "open", make: undefined });
  try {
    await assert.rejects(open(), { code: "unavailable", message: "the CA's token has not answered within 1 s" });
    const began = performance.now();
    await assert.rejects(open(), { code: "unavailable", message: "the CA's token has not answered within 1 s" });
    assert.ok(performance.now() - began < 900);
    let last = "";
    await until("the library is asked again", async () => {
      last = await open().then(String, (error: AppError) => error.message);
      return !last.includes("has not answered");
    });
    assert.equal(last, "the file cannot be loaded as a PKCS #11 library");
  } finally {
    thread.close();
  }
});
