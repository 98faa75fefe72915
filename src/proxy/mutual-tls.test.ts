import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { type Application, startApplication } from "../../test/fakes/http-application.ts";
import { call, exchangeRaw, peerAgent, peerOptions, readAll, tlsSocket } from "../../test/fakes/http-clients.ts";
import { BACKEND, FRONTEND, inboundListener, makeProxy, type ProxyUnderTest, workloadPolicy } from "../../test/fakes/proxy-setup.ts";
import type { TlsMaterial } from "../rpc/credentials.ts";
import { generateKey, spkiOf } from "../x509/csr-builder.ts";

const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

let application: Application;
let setup: ProxyUnderTest;

before(async () => {
  application = await startApplication();
});
after(() => application.close());
beforeEach(async () => {
  setup = makeProxy({ limits: { handshakeMs: 300 } });
  await apply();
});
afterEach(() => setup.proxy.close(0));

function apply(trustDomains: readonly string[] = ["cluster.local"]): Promise<void> {
  return setup.proxy.apply(workloadPolicy({ inbound: [inboundListener(application.port)], trustDomains }));
}

/** What a client with that certificate gets from its request; empty where it is refused. TLS 1.3 lets it send before it is. */
async function attempt(options: ConnectionOptions): Promise<string> {
  const socket = connectTls({ host: "127.0.0.1", port: setup.port(), checkServerIdentity: () => undefined, ...options });
  return exchangeRaw(socket, REQUEST);
}

const attemptWith = (material: TlsMaterial) => attempt({ ...peerOptions(material), ca: setup.ca.rootPem });

describe("peers that are refused in the handshake", () => {
  const cases: readonly (readonly [string, () => ConnectionOptions, RegExp, string])[] = [
    ["no certificate", () => ({}), /^the peer presented no certificate$/, ""],
    [
      "a certificate of another CA",
      () => ({ ...peerOptions(new FakeCa("other").material(FRONTEND)), ca: setup.ca.rootPem }),
      /^the peer's certificate is not trusted: /,
      "",
    ],
    ["one that has expired", () => peerOptions(expired()), /^the peer's certificate is not trusted: .*expired/i, ""],
    ["no name", () => peerOptions(setup.ca.material()), /has no name/, ""],
    ["two URI names", () => peerOptions(setup.ca.material(FRONTEND, BACKEND)), /exactly one URI name/, ""],
    [
      "another trust domain",
      () => peerOptions(setup.ca.material("spiffe://other.example/ns/a/sa/b")),
      /^the peer's trust domain is not trusted here$/,
      "spiffe://other.example/ns/a/sa/b",
    ],
    [
      "a trust domain that only begins like ours",
      () => peerOptions(setup.ca.material("spiffe://cluster.local.evil/ns/a/sa/b")),
      /^the peer's trust domain is not trusted here$/,
      "spiffe://cluster.local.evil/ns/a/sa/b",
    ],
    [
      "TLS 1.1",
      () => ({ ...peerOptions(setup.material(FRONTEND)), minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" }),
      /^the TLS handshake failed: /,
      "",
    ],
    [
      "a cipher without authenticated encryption",
      () => ({ ...peerOptions(setup.material(FRONTEND)), maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA256" }),
      /^the TLS handshake failed: /,
      "",
    ],
  ];

  function expired(): TlsMaterial {
    const key = generateKey();
    const past = Date.now() - 3_600_000;
    const chain = setup.ca.sign({ spki: spkiOf(key), identities: [FRONTEND], notBefore: past - 1000, notAfter: past });
    return { key: key.export({ type: "pkcs8", format: "pem" }).toString(), chain, roots: setup.ca.rootPem };
  }

  for (const [what, options, reason, caller] of cases) {
    test(what, async () => {
      const seen = application.seen.length;
      assert.equal(await attempt({ ca: setup.ca.rootPem, ...options() }).catch(() => ""), "");
      const record = await setup.keeper.next();
      assert.match(record.detail ?? "", reason);
      assert.deepEqual(
        [record.effect, record.caller, record.sourceIp, record.service],
        ["refused", caller, "127.0.0.1", "photo-ns/photo-backend"],
      );
      assert.equal(application.seen.length, seen);
    });
  }
});

test("a trust domain that a new policy takes away is refused from then on, also on connections that are open", async () => {
  const other = setup.ca.material("spiffe://partner.example/ns/a/sa/b");
  await apply(["cluster.local", "partner.example"]);
  const agent = peerAgent(other, 1);
  assert.equal((await call({ port: setup.port(), agent })).status, 200);
  const [socket] = Object.values(agent.freeSockets).flat();
  assert.ok(socket !== undefined);
  const closed = once(socket, "close");
  await apply();
  await closed;
  await assert.rejects(call({ port: setup.port(), agent }));
  agent.destroy();
});

test("a peer that begins a handshake and does not go on is cut off, and others are served meanwhile", async () => {
  const slow = connect(setup.port(), "127.0.0.1");
  slow.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00]));
  assert.match(await attemptWith(setup.material(FRONTEND)), /^HTTP\/1\.1 200 /);
  await readAll(slow);
  const record = await setup.keeper.next(({ effect }) => effect === "refused");
  assert.equal(record.detail, "the TLS handshake took too long");
});

test("whoever connects and leaves without a word is not recorded", async () => {
  const probe = connect(setup.port(), "127.0.0.1");
  await once(probe, "connect");
  probe.end();
  await once(probe.resume(), "close");
  await attemptWith(setup.material(FRONTEND));
  await setup.keeper.next(({ effect }) => effect === "allow");
  assert.equal(setup.keeper.records.length, 1);
});

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  test(`no session of ${version} is resumed, so that no verdict outlives its roots (CVE-2022-21654)`, async () => {
    const options = { ...peerOptions(setup.material(FRONTEND)), minVersion: version, maxVersion: version };
    const first = await tlsSocket(setup.port(), options);
    const sessions: Buffer[] = [];
    first.on("session", (session: Buffer) => sessions.push(session));
    await exchangeRaw(first, REQUEST);
    const session = sessions.at(-1) ?? first.getSession();
    const second = await tlsSocket(setup.port(), { ...options, ...(session === undefined ? {} : { session }) });
    assert.equal(second.isSessionReused(), false);
    second.destroy();
  });
}

describe("other people's clients", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "gp-"));
  });
  after(() => rmSync(folder, { recursive: true }));

  function files(material: TlsMaterial): { readonly key: string; readonly cert: string; readonly roots: string } {
    const paths = { key: join(folder, "key.pem"), cert: join(folder, "cert.pem"), roots: join(folder, "roots.pem") };
    writeFileSync(paths.key, material.key, { mode: 0o600 });
    writeFileSync(paths.cert, material.chain);
    writeFileSync(paths.roots, material.roots);
    return paths;
  }

  /** What a program prints, whatever its exit code. */
  function run(program: string, args: readonly string[], input = ""): Promise<string> {
    return new Promise((resolve) => {
      const child = execFile(program, args, { timeout: 20_000 }, (_error, stdout, stderr) => resolve(stdout + stderr));
      child.stdin?.on("error", () => undefined);
      child.stdin?.end(input);
    });
  }

  test("curl speaks HTTP/1.1 and HTTP/2 with it", async () => {
    const { key, cert, roots } = files(setup.material(FRONTEND));
    const url = `https://127.0.0.1:${setup.port()}/curl`;
    for (const version of ["--http1.1", "--http2"]) {
      // The server's name is a URI, which curl does not look for: the chain is what it checks here.
      const output = await run("curl", [
        "-sk",
        version,
        "--key",
        key,
        "--cert",
        cert,
        "--cacert",
        roots,
        "-w",
        " %{http_version} %{http_code}",
        url,
      ]);
      assert.match(output, version === "--http2" ? / 2 200$/ : / 1\.1 200$/);
    }
  });
  test("openssl finds a certificate chain that it trusts, asked for a client certificate", async () => {
    const { key, cert, roots } = files(setup.material(FRONTEND));
    const output = await run(
      "openssl",
      ["s_client", "-connect", `127.0.0.1:${setup.port()}`, "-key", key, "-cert", cert, "-CAfile", roots, "-ign_eof"],
      REQUEST,
    );
    assert.match(output, /Verify(?: return code|ation): (?:0 \(ok\)|OK)/);
    assert.match(output, /Client Certificate Types|Requested Signature Algorithms/i);
    assert.match(output, /HTTP\/1\.1 200 OK/);
  });
});
