/** Issuers outside the mesh: whose word counts, for whom, and that nobody's makes an identity of another trust domain. */
import assert from "node:assert/strict";
import { chmodSync, copyFileSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { callAdmin } from "../../src/cli/admin-client.ts";
import type { LedgerAnswer } from "../../src/server/ledger.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { FakeCloud, instanceDocument } from "../fixture/outside-issuers.ts";
import { inSeconds, SigningKey } from "../fixture/tokens.ts";
import { requestCertificate } from "./caller.ts";
import { GarrisonProcess, garrison } from "./garrison.ts";
import { CLIENT, CLIENT_IDENTITY, meshFiles, SERVER_IDENTITY, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const LOOPBACK = ["--jwks-allow", "127.0.0.1/32"];

/** An OpenID provider on loopback. */
class Provider {
  readonly key = new SigningKey("k1", "RS256");
  readonly issuer: string;

  private constructor(issuer: string) {
    this.issuer = issuer;
  }

  static async start(t: TestContext): Promise<Provider> {
    const server = createServer(({ url }, response) => {
      const documents: Readonly<Record<string, unknown>> = {
        "/.well-known/openid-configuration": { issuer: provider.issuer, jwks_uri: `${provider.issuer}/keys` },
        "/keys": { keys: [provider.key.jwk()] },
      };
      response.writeHead(documents[url ?? ""] === undefined ? 404 : 200).end(JSON.stringify(documents[url ?? ""]));
    });
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
    t.after(() => server.close());
    const provider = new Provider(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    return provider;
  }

  token(claims: Readonly<Record<string, unknown>>): string {
    return this.key.token({ iss: this.issuer, aud: "istio-ca", exp: inSeconds(600), sub: "ci", ...claims });
  }
}

function write(place: Place, issuers: readonly unknown[]): string {
  const file = join(place.folder, "issuers.yaml");
  writeFileSync(file, JSON.stringify({ issuers }), { mode: 0o644 });
  return file;
}

function startAgent(place: Place, name: string, ...args: readonly string[]): GarrisonProcess {
  const folder = join(place.folder, name);
  mkdirSync(folder);
  const { host, port, rootCertificate } = place.controlPlane();
  copyFileSync(rootCertificate, join(folder, "root.pem"));
  const where = ["--control-plane", `${host}:${port}`, "--root-ca", join(folder, "root.pem"), "--state", join(folder, "state")];
  return new GarrisonProcess(place, ["agent", "--workload", CLIENT, "--proxy", "none", ...where, ...args]);
}

/** What comes of a request with this token; the CSR asks for `identity`. */
function ask(place: Place, token: string, identity = CLIENT_IDENTITY) {
  return requestCertificate(place.controlPlane(), buildCsr(generateKey(), identity), { token });
}

describe("an issuer outside the mesh", { timeout: 300_000 }, () => {
  test("vouches for the workload of its claims: by OIDC, with a command that gets the token", async (t) => {
    const place = new Place(t, meshFiles(UNUSED_PORTS));
    const provider = await Provider.start(t);
    const accounts = [{ when: { repository: "acme/photo" }, account: "{team}/client" }];
    const file = write(place, [{ name: "idp", kind: "oidc", issuer: provider.issuer, audiences: ["istio-ca"], accounts }]);
    const serve = await place.serve(undefined, ["--issuers", file, ...LOOPBACK]);
    await serve.line(/keys for tokens in force/);

    writeFileSync(join(place.folder, "token"), provider.token({ repository: "acme/photo", team: "shop" }));
    const agent = startAgent(place, "one", "--token-command", `cat ${join(place.folder, "token")}`);
    await agent.line(/certificate received identity=spiffe:\/\/cluster\.local\/ns\/shop\/sa\/client/);
    assert.match((await place.run("ca", "list")).stdout, /shop\/sa\/client .*issuer idp|issuer idp/);

    const refusal = async (claims: Readonly<Record<string, unknown>>) => {
      const outcome = await ask(place, provider.token(claims));
      return outcome.code === "OK" ? "issued" : `${outcome.code} ${outcome.details}`;
    };
    assert.match(await refusal({ repository: "acme/other", team: "shop" }), /^UNAUTHENTICATED .*stand for no service account/);
    assert.match(
      await refusal({ repository: "acme/photo", team: "bank" }),
      /^UNAUTHENTICATED the service account `bank\/client` does not exist/,
    );
    assert.match(await refusal({ repository: "acme/photo", team: "shop", aud: "other" }), /^UNAUTHENTICATED .*another audience/);
    const server = await ask(place, provider.token({ repository: "acme/photo", team: "shop" }), SERVER_IDENTITY);
    assert.equal(server.code, "PERMISSION_DENIED");
  });

  test("never makes an identity of another trust domain, nor the control plane's, whatever it says and is asked for", async (t) => {
    const place = new Place(t, meshFiles(UNUSED_PORTS));
    place.write(
      "control-plane.yaml",
      "apiVersion: v1\nkind: Namespace\nmetadata: { name: istio-system }\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: { name: garrison, namespace: istio-system }\n",
    );
    const provider = await Provider.start(t);
    const keys = { audiences: ["istio-ca"], jwks: JSON.stringify({ keys: [provider.key.jwk()] }) };
    const file = write(place, [
      { name: "any", kind: "oidc", issuer: "https://any", ...keys, accounts: [{ when: { sub: "ci" }, account: "{ns}/{sa}" }] },
      { name: "cluster", kind: "kubernetes", issuer: "https://cluster", ...keys, namespaces: ["*"] },
    ]);
    await place.serve(undefined, ["--issuers", file]);
    const bound = (ns: string, sa: string) => ({
      iss: "https://cluster",
      sub: `system:serviceaccount:${ns}:${sa}`,
      "kubernetes.io": { namespace: ns, serviceaccount: { name: sa } },
    });
    const names = ["shop", "other.org/ns/shop", "..", "shop/sa/client", "spiffe://other.org/ns/shop/sa/client"];
    for (const [ns, sa] of [
      ...names.map((name) => [name, "client"]),
      ...names.map((name) => ["shop", name]),
      ["istio-system", "garrison"],
    ]) {
      for (const claims of [{ iss: "https://any", ns, sa }, bound(ns ?? "", sa ?? "")]) {
        const own = await ask(place, provider.token(claims));
        assert.equal(own.code === "OK", ns === "shop" && sa === "client", `${ns} ${sa} ${JSON.stringify(own)}`);
        const other = await ask(place, provider.token(claims), "spiffe://other.org/ns/shop/sa/client");
        assert.match(other.code, /^(PERMISSION_DENIED|UNAUTHENTICATED)$/);
      }
    }
    const { certificates } = (await callAdmin(place.controlPlane().adminSocket, "GET", "/v1/ca/list")) as LedgerAnswer;
    assert.deepEqual(
      new Set(certificates.map(({ identity }) => identity)),
      new Set([CLIENT_IDENTITY, "spiffe://cluster.local/ns/istio-system/sa/garrison"]),
    );
  });

  test("lets an AWS instance join once, with the document as its metadata service writes it, also across a restart", async (t) => {
    const place = new Place(t, meshFiles(UNUSED_PORTS));
    const cloud = new FakeCloud(place.folder);
    const accounts = [{ when: { accountId: "123456789012" }, account: CLIENT }];
    const file = write(place, [{ name: "ec2", kind: "aws", certificates: cloud.certificate, accounts }]);
    const first = await place.serve(undefined, ["--issuers", file]);
    const document = cloud.sign(instanceDocument({ pendingTime: new Date(Date.now() - 60_000).toISOString().replace(/\.\d+/, "") }));
    const token = join(place.folder, "rsa2048");
    writeFileSync(token, `-----BEGIN PKCS7-----\n${document}\n-----END PKCS7-----\n`);
    const agent = startAgent(place, "instance", "--token-file", token);
    await agent.line(/certificate received/);
    assert.match((await place.run("ca", "list")).stdout, /issuer ec2 123456789012\/i-1234567890abcdef0/);
    writeFileSync(join(place.folder, "copy"), document);
    await startAgent(place, "thief", "--token-file", join(place.folder, "copy")).line(/its instance has joined already/);
    await first.stop();
    await place.serve(undefined, ["--issuers", file]);
    await startAgent(place, "later", "--token-file", token).line(/its instance has joined already/);
  });

  test("counts from the edit of the file that adds it to the edit that takes it away; an edit that cannot be taken changes nothing", async (t) => {
    const place = new Place(t, meshFiles(UNUSED_PORTS));
    const key = new SigningKey("k1", "RS256");
    const issuer = (name: string, audience = "istio-ca") => ({
      name,
      kind: "oidc",
      issuer: `https://${name}`,
      audiences: [audience],
      jwks: JSON.stringify({ keys: [key.jwk()] }),
      accounts: [{ when: { sub: "ci" }, account: CLIENT }],
    });
    const outcome = async (name: string) =>
      (await ask(place, key.token({ iss: `https://${name}`, aud: "istio-ca", exp: inSeconds(600), sub: "ci" }))).code;
    const serve = await place.serve(undefined, ["--issuers", write(place, [issuer("first")])]);
    assert.deepEqual([await outcome("first"), await outcome("second")], ["OK", "UNAUTHENTICATED"]);

    write(place, [issuer("first"), issuer("second")]);
    await until("the second counts", async () => (await outcome("second")) === "OK");
    write(place, [{ ...issuer("first"), audiences: [] }]);
    await serve.line(/the file of issuers cannot be taken, its last form stays in force .*audiences/);
    assert.deepEqual([await outcome("first"), await outcome("second")], ["OK", "OK"]);
    write(place, [issuer("second")]);
    await until("the first counts no more", async () => (await outcome("first")) === "UNAUTHENTICATED");
    write(place, []);
    await until("nobody outside counts", async () => (await outcome("second")) === "UNAUTHENTICATED");
  });

  test("is refused at the start with every reason, and where others can write its file", async (t) => {
    const place = new Place(t, meshFiles(UNUSED_PORTS));
    const serve = (file: string) =>
      garrison(["serve", "--config", place.config, "--state", place.state, "--issuers", file, "--listen", "127.0.0.1:0"]);
    const bad = await serve(
      write(place, [{ name: "a", kind: "oidc", issuer: "https://a", audiences: [], accounts: [{ when: {}, account: "x" }] }]),
    );
    assert.match(bad.stderr, /issuers\.yaml:1:\d+: error GAR0007: `issuers\[0\]\.audiences` must not be empty/);
    assert.match(bad.stderr, /everybody with a token of this issuer would be this account/);
    const file = write(place, []);
    chmodSync(file, 0o666);
    assert.equal(statSync(file).mode & 0o777, 0o666);
    const open = await serve(file);
    assert.match(open.stderr, /can be written by others than its owner/);
    assert.match((await serve(join(place.folder, "none"))).stderr, /the file of issuers cannot be read/);
    assert.ok([bad, open].every(({ exit }) => exit !== 0));
  });
});
