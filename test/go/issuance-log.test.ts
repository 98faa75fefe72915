/** Certificates and the log of them with programs that others wrote: zlint, and the Go project's packages for transparency logs. */
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { type Authority, openAuthority } from "../../src/ca/authority.ts";
import { formatProof } from "../../src/ca/log/proof.ts";
import { revoke } from "../../src/ca/revoke.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { formatSpiffeId, parseSpiffeId } from "../../src/identity/spiffe-id.ts";
import { parseTrustDomain } from "../../src/identity/trust-domain.ts";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";

const TOOLS = process.env.GARRISON_GO_TOOLS ?? "";
const skip = TOOLS === "" && process.env.GARRISON_REQUIRE_GO !== "1" ? "there are no Go tools" : false;
const execute = promisify(execFile);
const identity = parseSpiffeId("spiffe://cluster.local/ns/photo/sa/web");
const COUNT = 600;

/** zlint's lints that ask for what only certificates of the public web have, each with why a mesh's have it not. */
const WEB_PKI_ONLY: Readonly<Record<string, string>> = {
  e_ext_san_uniform_resource_identifier_present: "CA/B BR: web servers have no URI names; a SPIFFE ID is one",
  e_dnsname_not_valid_tld: "CA/B BR: names of the public DNS; a mesh has `localhost` and `.svc`",
  n_san_iana_pub_suffix_empty: "the public suffix list knows no names of a mesh",
  e_sub_cert_aia_missing: "CA/B BR: where to fetch issuers and OCSP; chains are sent whole here",
  w_sub_cert_aia_does_not_contain_issuing_ca_url: "the same",
  e_sub_cert_cert_policy_empty: "CA/B BR: policies of the public web",
  e_sub_cert_certificate_policies_missing: "the same",
  w_ext_subject_key_identifier_not_recommended_subscriber: "CA/B BR: RFC 5280 §4.2.1.2 recommends it",
  w_ct_sct_policy_count_unsatisfied: "Certificate Transparency of browsers; the log here is the CA's own",
  e_ca_common_name_missing: "CA/B BR: a root of the public web has a CN; ours is named by O, its trust domain",
  e_ca_country_name_missing: "CA/B BR: a trust domain has no country",
  n_ca_digital_signature_not_set: "only for roots that sign OCSP answers",
};
/** Those of them that spoke. */
const excused = new Set<string>();
const HARMLESS: ReadonlySet<unknown> = new Set(["pass", "NA", "NE"]);

describe("an authority's work, seen by others", { skip, timeout: 180_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "go-log-"));
  const state = join(folder, "state");
  const file = (name: string) => join(folder, name);
  let authority: Authority;
  const request = (kind: "P-256" | "P-384" | "RSA" = "P-256") => {
    const csr = buildCsr(generateKey(kind), formatSpiffeId(identity));
    return { csr, identity, ttlSeconds: 0, caller: "token" };
  };
  before(async () => {
    authority = openAuthority({
      stateFolder: state,
      trustDomain: parseTrustDomain("cluster.local"),
      clock: systemClock,
      logger: silentLogger,
    });
    const each = request();
    for (let i = 0; i < COUNT; i += 50)
      await Promise.all(Array.from({ length: 50 }, async () => authority.recorded(await authority.issue(each))));
  });
  after(() => {
    authority.close();
    rmSync(folder, { recursive: true });
  });

  /** Names of the lints that find something, besides those of the public web. */
  async function findings(pem: string): Promise<readonly string[]> {
    writeFileSync(file("lint.pem"), pem);
    const { stdout } = await execute(join(TOOLS, "zlint"), [file("lint.pem")], { maxBuffer: 2 ** 22 });
    const results = Object.entries(JSON.parse(stdout) as Readonly<Record<string, { readonly result: string }>>);
    assert.ok(results.length > 300);
    const found = results.filter(([, { result }]) => !HARMLESS.has(result));
    for (const [name] of found) if (Object.hasOwn(WEB_PKI_ONLY, name)) excused.add(name);
    return found.flatMap(([name, { result }]) => (excused.has(name) ? [] : [`${name}: ${result}`]));
  }

  /** Names of the lints that find something in a list of revoked certificates. */
  async function crlFindings(pem: string): Promise<readonly string[]> {
    writeFileSync(file("lint-crl.pem"), pem);
    const { stdout } = await execute(join(TOOLS, "zlint"), [file("lint-crl.pem")], { maxBuffer: 2 ** 22 });
    const results = Object.entries(JSON.parse(stdout) as Readonly<Record<string, { readonly result: string }>>);
    // Lints of lists, not those of certificates, have looked at it.
    assert.ok(results.filter(([name, { result }]) => /crl/.test(name) && result === "pass").length >= 3);
    return results.flatMap(([name, { result }]) => (HARMLESS.has(result) ? [] : [`${name}: ${result}`]));
  }

  for (const kind of ["P-256", "P-384", "RSA"] as const) {
    test(`zlint and openssl find nothing in certificates for ${kind} keys, a workload's and the control plane's`, async () => {
      writeFileSync(file("root.pem"), authority.rootsPem);
      for (const { leaf } of [
        await authority.issue(request(kind)),
        await authority.issueServing(request(kind), ["localhost", "garrison.istio-system.svc"]),
      ]) {
        assert.deepEqual(await findings(leaf), []);
        writeFileSync(file("leaf.pem"), leaf);
        const verified = execFileSync("openssl", ["verify", "-x509_strict", "-CAfile", file("root.pem"), file("leaf.pem")], {
          encoding: "utf8",
        });
        assert.match(verified, /leaf\.pem: OK/);
      }
    });
  }

  test("zlint and openssl find nothing in a certificate that names its list of revoked certificates", async () => {
    const url = "http://crl.example.org/ca.crl";
    const named = openAuthority({
      stateFolder: file("named"),
      trustDomain: parseTrustDomain("cluster.local"),
      clock: systemClock,
      logger: silentLogger,
      crlUrl: url,
    });
    const { leaf } = await named.issue(request());
    assert.deepEqual(await findings(leaf), []);
    writeFileSync(file("root.pem"), named.rootsPem);
    writeFileSync(file("list.pem"), (await named.lists.served()).map(({ pem }) => pem).join(""));
    named.close();
    writeFileSync(file("leaf.pem"), leaf);
    const verify = ["verify", "-x509_strict", "-crl_check", "-CRLfile", file("list.pem"), "-CAfile", file("root.pem"), file("leaf.pem")];
    assert.match(execFileSync("openssl", verify, { encoding: "utf8" }), /leaf\.pem: OK/);
    assert.match(
      execFileSync("openssl", ["x509", "-in", file("leaf.pem"), "-noout", "-ext", "crlDistributionPoints"], { encoding: "utf8" }),
      /URI:http:\/\/crl\.example\.org\/ca\.crl/,
    );
  });

  test("zlint and openssl find nothing in a list of revoked certificates, empty or filled", async () => {
    const state = file("lists");
    const options = { stateFolder: state, trustDomain: parseTrustDomain("cluster.local"), clock: systemClock, logger: silentLogger };
    const issuing = openAuthority(options);
    const lint = async (): Promise<string> => {
      const [list] = await issuing.lists.served();
      assert.ok(list !== undefined);
      assert.deepEqual(await crlFindings(list.pem), []);
      writeFileSync(file("roots.pem"), issuing.rootsPem);
      return execFileSync("openssl", ["crl", "-in", file("lint-crl.pem"), "-CAfile", file("roots.pem"), "-noout", "-text"], {
        encoding: "utf8",
      });
    };
    assert.match(await lint(), /No Revoked Certificates/);
    const revoked = [await issuing.recorded(await issuing.issue(request())), await issuing.recorded(await issuing.issue(request()))];
    for (const [index, reason] of (["keyCompromise", "unspecified"] as const).entries())
      revoke(issuing, { kind: "serial", value: parseCertificates(revoked[index]?.leaf ?? "")[0]?.serial ?? "", reason }, Date.now());
    assert.equal((await lint()).match(/Serial Number:/g)?.length, 2);
    issuing.close();
  });

  test("zlint finds nothing in the root; and every lint that is left out is one that would speak", async () => {
    assert.deepEqual(await findings(authority.rootsPem), []);
    assert.deepEqual([...excused].sort(), Object.keys(WEB_PKI_ONLY).sort());
  });

  test("Go's packages verify every entry, every checkpoint and our proofs, and refuse a log with one changed byte", async () => {
    await authority.log.published();
    const { log } = authority;
    const proofs = [0, 255, 256, COUNT - 1].map((leaf) => {
      const [entry = Buffer.of()] = log.reader.entries(leaf);
      const path = file(`${leaf}.tlog-proof`);
      writeFileSync(path, formatProof({ entry, index: leaf, hashes: log.reader.inclusionProof(leaf), checkpoint: log.checkpoint }));
      return path;
    });
    const check = () => execute(join(TOOLS, "tlog-verify"), [log.folder, ...proofs], { maxBuffer: 2 ** 22 });
    const { stdout } = await check();
    assert.match(
      stdout,
      new RegExp(`^(proved .*spiffe://cluster\\.local/ns/photo/sa/web.*\\n){4}ok: ${log.size} entries, \\d+ checkpoints\\n$`),
    );
    const bundle = join(log.folder, "tile", "entries", "001");
    const bytes = readFileSync(bundle);
    writeFileSync(bundle, Buffer.from(bytes.toString("latin1").replace("sa/web", "sa/dbs"), "latin1"));
    await assert.rejects(check(), { code: 1 });
    writeFileSync(bundle, bytes);
  });
});
