import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { CA_KINDS, OpensslCa } from "../../test/fixture/openssl-ca.ts";
import { AppError } from "../core/error.ts";
import { silentLogger } from "../core/logger.ts";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { parseCertificates } from "../x509/certificate.ts";
import { verifyChain } from "../x509/chain.ts";
import { buildCsr, generateKey } from "../x509/csr-builder.ts";
import { type Authority, openAuthority } from "./authority.ts";

const identity = parseSpiffeId("spiffe://cluster.local/ns/photo/sa/web");
const URI = formatSpiffeId(identity);

const DAY_MS = 86_400_000;
const clock = { now: () => Date.now() + shiftMs };

let shiftMs = 0;
let folder = "";
let caFolder = "";
let ca: OpensslCa;
let logger: RecordingLogger;
const opened: Authority[] = [];

beforeEach(() => {
  shiftMs = 0;
  folder = mkdtempSync(join(tmpdir(), "plugged-"));
  caFolder = join(folder, "cacerts");
  ca = new OpensslCa(join(folder, "openssl"));
  logger = new RecordingLogger();
});
afterEach(() => {
  for (const authority of opened.splice(0)) authority.close();
  rmSync(folder, { recursive: true });
});

function open(): Authority {
  const trustDomain = parseTrustDomain("cluster.local");
  const authority = openAuthority({ stateFolder: join(folder, "state"), trustDomain, clock, logger, caFolder });
  opened.push(authority);
  return authority;
}

const issue = (authority: Authority, key = generateKey()) =>
  authority.issue({ csr: buildCsr(key, URI), identity, ttlSeconds: 0, caller: "token" });

/** How the file of a set that cannot be used is refused. */
function refused(message: RegExp, where = ""): void {
  assert.throws(open, (error) => {
    assert.ok(error instanceof AppError);
    assert.equal(error.code, "invalid-configuration");
    assert.match(error.message, message);
    assert.equal(error.where, join(caFolder, where));
    assert.doesNotMatch(`${error.message}${error.help}`, /BEGIN|MII/);
    return true;
  });
}

describe("an operator's own CA", () => {
  for (const kind of CA_KINDS) {
    test(`of ${kind} signs leaves of every kind that openssl verifies, and serves its intermediates apart`, async () => {
      ca.make("root", { kind });
      ca.make("middle", { kind, parent: "root", basicConstraints: "critical,CA:TRUE,pathlen:1" });
      ca.make("low", { kind, parent: "middle", basicConstraints: "critical,CA:TRUE,pathlen:0" });
      ca.plug(caFolder, "low", ["root"], ["low", "middle", "root"]);
      const authority = open();
      for (const leafKind of ["P-256", "P-384", "RSA"] as const) {
        const issued = await issue(authority, generateKey(leafKind));
        assert.deepEqual(issued.intermediates, [ca.text("low.pem"), ca.text("middle.pem")]);
        assert.equal(issued.roots, ca.text("root.pem"));
        writeFileSync(join(folder, "openssl", "leaf.pem"), issued.leaf);
        writeFileSync(join(folder, "openssl", "chain.pem"), issued.intermediates.join(""));
        for (const purpose of ["sslclient", "sslserver"]) {
          const trust = ["-CAfile", "root.pem", "-untrusted", "chain.pem"];
          assert.match(ca.run("verify", "-x509_strict", ...trust, "-purpose", purpose, "leaf.pem"), /leaf\.pem: OK/);
        }
        const usage = ca.run("x509", "-in", "leaf.pem", "-noout", "-ext", "keyUsage");
        assert.match(usage, leafKind === "RSA" ? /Digital Signature, Key Encipherment$/m : /Digital Signature$/m);
      }
      assert.deepEqual([authority.status.keyKind, authority.status.intermediates, authority.status.source], [kind, 2, caFolder]);
      assert.equal(readFileSync(authority.rootsFile, "utf8"), ca.text("root.pem"));
    });
  }

  test("that is a root itself serves no intermediate", async () => {
    ca.make("root");
    ca.plug(caFolder, "root", ["root"]);
    assert.deepEqual((await issue(open())).intermediates, []);
  });

  test("may have the names of a TLS secret, mounted as links, its key readable by the group", async () => {
    ca.make("root");
    ca.make("low", { parent: "root" });
    const data = join(caFolder, "..data");
    mkdirSync(data, { recursive: true });
    writeFileSync(join(data, "tls.crt"), `subject=O = low\n${ca.text("low.pem")}`);
    writeFileSync(join(data, "tls.key"), ca.text("low.key"), { mode: 0o440 });
    writeFileSync(join(data, "ca.crt"), ca.text("root.pem"));
    for (const name of ["tls.crt", "tls.key", "ca.crt"]) symlinkSync(join("..data", name), join(caFolder, name));
    assert.deepEqual((await issue(open())).intermediates, [ca.text("low.pem")]);
  });

  test("lets no leaf outlive it, nor what is above it", async () => {
    ca.make("root", { days: 1 });
    ca.make("low", { parent: "root", days: 30 });
    ca.plug(caFolder, "low", ["root"]);
    const authority = open();
    const [root] = parseCertificates(ca.text("root.pem"));
    const { notAfter } = await authority.issue({ csr: buildCsr(generateKey(), URI), identity, ttlSeconds: 7 * 86_400, caller: "token" });
    assert.equal(notAfter, root?.notAfter);
    assert.equal(authority.status.notAfter, root?.notAfter);
  });
});

describe("a set of CA files is refused at the start", () => {
  beforeEach(() => {
    ca.make("root");
    ca.make("low", { parent: "root" });
    ca.plug(caFolder, "low", ["root"]);
  });
  const write = (name: string, text: string) => writeFileSync(join(caFolder, name), text);

  test("where a file is missing, or the folder", () => {
    for (const name of ["ca-cert.pem", "root-cert.pem", "ca-key.pem"]) {
      renameSync(join(caFolder, name), join(folder, "aside"));
      refused(/the file is missing/, name);
      renameSync(join(folder, "aside"), join(caFolder, name));
    }
    rmSync(caFolder, { recursive: true });
    refused(/no such folder/);
  });

  test("where the key is another's, encrypted, or none", () => {
    ca.make("other", { parent: "root" });
    write("ca-key.pem", ca.text("other.key"));
    refused(/do not belong together/);
    for (const form of [["-traditional"], []]) {
      write("ca-key.pem", ca.run("pkey", "-in", "low.key", "-aes256", "-passout", "pass:secret", ...form));
      refused(/the key is encrypted/, "ca-key.pem");
    }
    write("ca-key.pem", ca.text("low.pem"));
    refused(/no private key in PEM/, "ca-key.pem");
  });

  test("where the certificate leads to none of the roots, or an intermediate is missing", () => {
    ca.make("stranger");
    write("root-cert.pem", ca.text("stranger.pem"));
    refused(/no trusted root has issued/);
    ca.make("middle", { parent: "root" });
    ca.make("deep", { parent: "middle" });
    ca.plug(caFolder, "deep", ["root"]);
    refused(/no trusted root has issued/);
  });

  test("where a root is not self-signed, so that TLS libraries would not end at it", () => {
    write("root-cert.pem", ca.text("low.pem"));
    refused(/not signed by its own key/);
  });

  test("where the certificate may not sign what is asked of it", () => {
    const cases = [
      [{ basicConstraints: "critical,CA:FALSE" }, /is not a CA's/],
      [{ keyUsage: "critical,digitalSignature" }, /no key usage `keyCertSign`/],
      [{ extensions: ["extendedKeyUsage=serverAuth"] }, /not meant for a client/],
      [{ extensions: ["nameConstraints=critical,permitted;URI:.example.org"] }, /must be processed and is not supported/],
    ] as const;
    for (const [options, message] of cases) {
      ca.make("bad", { parent: "root", ...options });
      ca.plug(caFolder, "bad", ["root"]);
      refused(message);
    }
    ca.make("narrow", { parent: "root", basicConstraints: "critical,CA:TRUE,pathlen:0" });
    ca.make("deep", { parent: "narrow" });
    ca.plug(caFolder, "deep", ["root"], ["deep", "narrow"]);
    refused(/allows fewer CA certificates below it/);
  });

  test("where it is not valid now", () => {
    shiftMs = 60 * DAY_MS;
    refused(/has expired/);
    shiftMs = -DAY_MS;
    refused(/is not valid yet/);
  });

  test("where the key is of a kind that is not accepted", () => {
    ca.run(
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-521",
      "-nodes",
      "-keyout",
      "p521.key",
      "-out",
      "p521.pem",
      "-subj",
      "/O=x",
      "-addext",
      "keyUsage=critical,keyCertSign",
    );
    ca.plug(caFolder, "p521", ["p521"]);
    refused(/the public key is P-521; accepted are/);
  });

  test("where others may read the key or write a certificate, and where two formats or a revocation list lie there", () => {
    chmodSync(join(caFolder, "ca-key.pem"), 0o644);
    assert.throws(open, { code: "unsafe-permissions", message: /ca-key\.pem` can be used by others \(mode 0644\)/ });
    chmodSync(join(caFolder, "ca-key.pem"), 0o600);
    chmodSync(join(caFolder, "root-cert.pem"), 0o666);
    assert.throws(open, { code: "unsafe-permissions", message: /root-cert\.pem` can be used by others/ });
    chmodSync(join(caFolder, "root-cert.pem"), 0o644);
    write("ca-crl.pem", "");
    refused(/revocation lists are not supported/, "ca-crl.pem");
    rmSync(join(caFolder, "ca-crl.pem"));
    write("tls.key", "");
    refused(/two CAs/);
  });
});

describe("when the files of a plugged CA change", () => {
  beforeEach(() => {
    ca.make("root");
    ca.make("low", { parent: "root" });
    ca.make("next", { parent: "root", kind: "RSA" });
    ca.make("other");
    ca.make("foreign", { parent: "other" });
    ca.plug(caFolder, "low", ["root"]);
  });

  test("a new intermediate signs from then on, and what the old one signed is still known", async () => {
    const authority = open();
    let changes = 0;
    authority.onChange(() => {
      changes += 1;
    });
    const before = await issue(authority);
    ca.plug(caFolder, "next", ["root"]);
    await logger.line("the CA's new files are in force");
    const after = await issue(authority);
    assert.deepEqual([after.intermediates, changes], [[ca.text("next.pem")], 1]);
    for (const { leaf } of [before, after]) {
      const [certificate] = parseCertificates(leaf);
      assert.ok(certificate);
      const { path } = verifyChain({ leaf: certificate, ...authority.trust, time: Date.now(), purpose: "client" });
      assert.equal(path.length, 3);
    }
  });

  test("a set that does not hold together leaves the old one in force, and the status says why until it is mended", async () => {
    const authority = open();
    writeFileSync(join(caFolder, "ca-key.pem"), ca.text("next.key"));
    const { fields } = await logger.line("the CA's files changed and are not taken: the old set stays");
    assert.match(String(fields.reason), /do not belong together/);
    assert.match(authority.status.problem ?? "", /do not belong together/);
    assert.deepEqual((await issue(authority)).intermediates, [ca.text("low.pem")]);
    writeFileSync(join(caFolder, "ca-cert.pem"), ca.text("next.pem"));
    writeFileSync(join(caFolder, "cert-chain.pem"), ca.text("next.pem"));
    await logger.line("the CA's new files are in force");
    assert.equal(authority.status.problem, undefined);
  });

  test("roots change in steps: added, then signing, then the old one taken away; a set that skips a step is refused", async () => {
    const authority = open();
    ca.plug(caFolder, "foreign", ["other"]);
    const skipped = await logger.line("the CA's files changed and are not taken: the old set stays");
    assert.match(String(skipped.fields.reason), /the new roots neither keep all of the old ones nor are all among them/);
    ca.plug(caFolder, "foreign", ["root", "other"]);
    const hasty = await logger.line("the CA's files changed and are not taken: the old set stays", 2);
    assert.match(String(hasty.fields.reason), /a root that no workload trusts yet/);
    for (const [step, [signer, roots]] of (
      [
        ["low", ["root", "other"]],
        ["foreign", ["root", "other"]],
        ["foreign", ["other"]],
      ] as const
    ).entries()) {
      ca.plug(caFolder, signer, roots);
      await logger.line("the CA's new files are in force", step + 1);
      assert.equal((await issue(authority)).roots, roots.map((name) => ca.text(`${name}.pem`)).join(""));
      assert.equal(readFileSync(authority.rootsFile, "utf8"), authority.rootsPem);
    }
  });
});

test("a state folder that was started with a plugged CA does not get one of its own by a start without it", () => {
  ca.make("root");
  ca.plug(caFolder, "root", ["root"]);
  open();
  for (const authority of opened.splice(0)) authority.close();
  const trustDomain = parseTrustDomain("cluster.local");
  const without = () => openAuthority({ stateFolder: join(folder, "state"), trustDomain, clock, logger: silentLogger });
  assert.throws(without, { code: "invalid-configuration", message: /was it started with `--ca-folder`\?/ });
});
