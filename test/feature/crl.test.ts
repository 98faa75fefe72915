/** The signed list of revoked certificates over HTTP, as programs outside the mesh fetch it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { pickPort } from "../fakes/ports.ts";
import { enrol } from "./caller.ts";
import { garrison } from "./garrison.ts";
import { CLIENT, CLIENT_IDENTITY, meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const place = new Place({ after }, meshFiles(UNUSED_PORTS));
let url = "";

before(async () => {
  const port = await pickPort();
  url = `http://127.0.0.1:${port}/ca.crl`;
  await place.serve(undefined, ["--crl-listen", `127.0.0.1:${port}`, "--crl-url", url]);
});

const openssl = (...args: readonly string[]) =>
  execFileSync("openssl", args, { cwd: place.folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

describe("the list of revoked certificates over HTTP", { timeout: 60_000 }, () => {
  test("is named in certificates, fetched from there by openssl, and refuses what is revoked from the next fetch on", async () => {
    const token = (await place.run("token", CLIENT)).stdout.trim();
    const { chain } = await enrol(place.controlPlane(), CLIENT_IDENTITY, token);
    writeFileSync(join(place.folder, "leaf.pem"), chain);
    const verify = () => openssl("verify", "-crl_download", "-crl_check", "-CAfile", place.controlPlane().rootCertificate, "leaf.pem");
    assert.match(verify(), /leaf\.pem: OK/);
    const { exit } = await place.run("ca", "revoke", "--serial", parseCertificates(chain)[0]?.serial ?? "");
    assert.equal(exit, 0);
    assert.throws(verify, /certificate revoked/);
  });

  test("is sent again only where it is another one", async () => {
    const first = await fetch(url);
    const etag = first.headers.get("etag") ?? "";
    assert.deepEqual([first.status, first.headers.get("content-type")], [200, "application/pkix-crl"]);
    writeFileSync(join(place.folder, "list.der"), await first.bytes());
    assert.match(openssl("crl", "-inform", "DER", "-in", "list.der", "-noout", "-CAfile", place.controlPlane().rootCertificate), /^$/);
    const again = await fetch(url, { headers: { "if-none-match": `"x", W/${etag}` } });
    assert.deepEqual([again.status, (await again.bytes()).length], [304, 0]);
    const head = await fetch(url, { method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("etag"), (await head.bytes()).length], [200, etag, 0]);
    assert.equal((await place.run("ca", "revoke", "--identity", "shop/server")).exit, 0);
    const changed = await fetch(url, { headers: { "if-none-match": etag } });
    assert.equal(changed.status, 200);
    assert.notEqual(changed.headers.get("etag"), etag);
  });

  test("is all that there is, and not for whoever asks too often", async () => {
    const statuses = async (...asked: readonly (readonly [path: string, method: string])[]) =>
      Promise.all(asked.map(async ([path, method]) => (await fetch(new URL(path, url), { method })).status));
    assert.deepEqual(
      await statuses(["/", "GET"], ["/ca.crl?x", "GET"], ["/v1/ca/list", "GET"], ["/ca.crl", "POST"], ["/ca.crl", "DELETE"]),
      [404, 404, 404, 405, 405],
    );
    const flood = await Promise.all(Array.from({ length: 400 }, async () => (await fetch(url, { method: "HEAD" })).status));
    assert.deepEqual(new Set(flood), new Set([200, 429]));
  });

  test("is one of each authority while two are trusted, and each certificate names its own", async () => {
    const other = new Place({ after }, meshFiles(UNUSED_PORTS));
    const port = await pickPort();
    await other.serve(undefined, ["--crl-listen", `127.0.0.1:${port}`, "--crl-url", `http://127.0.0.1:${port}/{authority}.crl`]);
    const token = (await other.run("token", CLIENT)).stdout.trim();
    const leaf = async (name: string): Promise<void> => {
      const { chain } = await enrol(other.controlPlane(), CLIENT_IDENTITY, token);
      writeFileSync(join(place.folder, name), chain);
    };
    const verify = (name: string) => {
      try {
        return openssl("verify", "-crl_download", "-crl_check", "-CAfile", other.controlPlane().rootCertificate, name);
      } catch (failure) {
        return String((failure as { readonly stderr?: unknown }).stderr);
      }
    };
    await leaf("old.pem");
    assert.equal((await other.run("ca", "prepare")).exit, 0);
    assert.equal((await other.run("ca", "activate")).exit, 0);
    await leaf("new.pem");
    assert.deepEqual([verify("old.pem"), verify("new.pem")], ["old.pem: OK\n", "new.pem: OK\n"]);
    const old = parseCertificates(readFileSync(join(place.folder, "old.pem"), "utf8"))[0];
    assert.equal((await other.run("ca", "revoke", "--serial", old?.serial ?? "")).exit, 0);
    assert.match(verify("old.pem"), /certificate revoked/);
    assert.equal(verify("new.pem"), "new.pem: OK\n");
    const statuses = [`${old?.authorityKeyId}.crl`, "ca.crl", "00ff.crl"].map(
      async (path) => (await fetch(`http://127.0.0.1:${port}/${path}`)).status,
    );
    assert.deepEqual(await Promise.all(statuses), [200, 200, 404]);
  });

  test("has an address that verifiers can use, or there is no start", async () => {
    for (const bad of ["https://crl.example.org/ca.crl", "http://user@crl/ca.crl", "ldap://crl", "http://crl.example.org/ca.crl\n"]) {
      const { exit, stderr } = await garrison([
        "serve",
        "--config",
        place.config,
        "--state",
        join(place.folder, "other"),
        "--crl-url",
        bad,
      ]);
      assert.deepEqual([exit, /is not an address for the list of revoked certificates/.test(stderr)], [2, true], bad);
    }
  });
});
