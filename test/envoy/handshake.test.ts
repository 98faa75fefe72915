/** Who gets through the handshake of a STRICT port, HTTP and TCP. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import type { InboundListener } from "../../src/compile/workload-policy.ts";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { generateKey, spkiOf } from "../../src/x509/csr-builder.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { exchange, HTTP_ALPN, readAll, requestBytes } from "./client.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { LOOPBACK } from "./loopback.ts";
import { FRONTEND, inbound, policyOf, portOf, Scenario } from "./scenario.ts";

const skip = skipWithoutEnvoy();
const ca = new FakeCa();
const app = createServer((_request, response) => response.end("served"));
let scenario: Scenario;
let listeners: Readonly<Record<"http" | "tcp", InboundListener>>;

before(async () => {
  if (skip) return;
  app.listen(0, "127.0.0.1");
  await once(app, "listening");
  const endpoint = { kind: "tcp", host: "127.0.0.1", port: portOf(app) } as const;
  listeners = {
    http: await inbound({ protocol: "http", mtls: "STRICT", endpoint }),
    tcp: await inbound({ protocol: "tcp", mtls: "STRICT", endpoint }),
  };
  scenario = await Scenario.start(policyOf({ inbound: Object.values(listeners), trustDomains: ["cluster.local", "partner.example"] }), ca);
});

after(async () => {
  await scenario?.stop();
  app.close();
});

/** What a client with this certificate is answered, by each of the two listeners. */
async function answers(material: Partial<TlsMaterial>): Promise<readonly string[]> {
  const tls = { material: { ...material, roots: ca.rootPem }, alpn: HTTP_ALPN };
  return [
    await exchange({ port: listeners.http.port, tls }, requestBytes({})),
    await exchange({ port: listeners.tcp.port, tls }, requestBytes({})),
  ];
}

for (const identity of [FRONTEND, "spiffe://partner.example/ns/a/sa/b"]) {
  test(`a certificate of ${identity} gets through`, { skip }, async () => {
    for (const answer of await answers(ca.material(identity))) assert.match(answer, /served/);
  });
}

const elsewhere = new FakeCa("elsewhere");

function expired(): TlsMaterial {
  const key = generateKey();
  const now = Math.floor(Date.now() / 1000) * 1000;
  const chain = ca.sign({ spki: spkiOf(key), identities: [FRONTEND], notBefore: now - 7_200_000, notAfter: now - 3_600_000 });
  return { key: key.export({ type: "pkcs8", format: "pem" }).toString(), chain, roots: ca.rootPem };
}

const REFUSED: readonly (readonly [string, () => Partial<TlsMaterial>])[] = [
  ["of a foreign trust domain", () => ca.material("spiffe://elsewhere/ns/photo-ns/sa/photo-frontend")],
  ["of a trust domain that only begins like ours", () => ca.material("spiffe://cluster.local.evil/ns/photo-ns/sa/photo-frontend")],
  ["of a foreign root", () => elsewhere.material(FRONTEND)],
  ["without a URI", () => ca.material()],
  ["that has expired", expired],
  ["that is not shown", () => ({})],
];

for (const [what, material] of REFUSED) {
  test(`a certificate ${what} does not get through`, { skip }, async () => {
    for (const answer of await answers(material())) assert.match(answer, /^ERROR ERR_SSL_/);
  });
}

test("plaintext gets no answer", { skip }, async () => {
  for (const { port } of Object.values(listeners)) assert.doesNotMatch(await exchange({ port }, requestBytes({})), /HTTP|served/);
});

for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
  test(`a ${maxVersion} session is not resumed, so that every connection's certificate is verified`, { skip }, async () => {
    const { key, chain, roots } = ca.material(FRONTEND);
    const options = {
      host: LOOPBACK,
      port: listeners.http.port,
      key,
      cert: chain,
      ca: roots,
      checkServerIdentity: () => undefined,
      maxVersion,
    };
    const first = connectTls(options);
    let session: Buffer | undefined;
    first.on("session", (ticket: Buffer) => {
      session = ticket;
    });
    await once(first, "secureConnect");
    const done = readAll(first);
    first.write(requestBytes({}));
    await done;
    const second = connectTls({ ...options, ...(session === undefined ? {} : { session }) });
    await once(second, "secureConnect");
    const reused = second.isSessionReused();
    second.destroy();
    assert.equal(reused, false);
  });
}

test("TLS 1.1 does not get through", { skip }, async () => {
  const { key, chain, roots } = ca.material(FRONTEND);
  const socket = connectTls({
    host: LOOPBACK,
    port: listeners.http.port,
    key,
    cert: chain,
    ca: roots,
    minVersion: "TLSv1.1",
    maxVersion: "TLSv1.1",
    ciphers: "ALL@SECLEVEL=0",
  });
  assert.equal(await readAll(socket), "ERROR ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
});

test("Envoy refused nothing of all this", { skip }, () => {
  assert.deepEqual(scenario.controlPlane.nacks, []);
});
