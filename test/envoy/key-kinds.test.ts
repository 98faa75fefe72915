/** Which kinds of keys a real Envoy takes: of a CA, of a client, and for itself. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { generateKey } from "../../src/x509/csr-builder.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { exchange, HTTP_ALPN, requestBytes } from "./client.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { BACKEND, FRONTEND, inbound, policyOf, portOf, Scenario } from "./scenario.ts";

const skip = skipWithoutEnvoy();
const app = createServer((_request, response) => response.end("served"));
const KINDS = ["P-256", "P-384", "RSA", "Ed25519"] as const;
type Kind = (typeof KINDS)[number];

before(async () => {
  app.listen(0, "127.0.0.1");
  await once(app, "listening");
});
after(() => {
  app.close();
});

/** What clients with certificates of these kinds are answered by an Envoy with one of `own`, all under a CA of `of`. */
async function answers(of: Kind, own: Kind, clients: readonly Kind[]): Promise<readonly string[]> {
  const ca = new FakeCa("fake", Date.now(), generateKey(of));
  const listener = await inbound({ protocol: "http", mtls: "STRICT", endpoint: { kind: "tcp", host: "127.0.0.1", port: portOf(app) } });
  const scenario = await Scenario.start(policyOf({ inbound: [listener] }), ca, ca.materialFor(generateKey(own), BACKEND));
  try {
    const texts: string[] = [];
    for (const client of clients) {
      const tls = { material: ca.materialFor(generateKey(client), FRONTEND), alpn: HTTP_ALPN };
      texts.push(await exchange({ port: listener.port, tls }, requestBytes({})));
    }
    return texts;
  } finally {
    await scenario.stop();
  }
}

for (const kind of KINDS) {
  test(`a CA of ${kind} is one that Envoy verifies certificates by`, { skip }, async () => {
    const [answer = ""] = await answers(kind, "P-256", ["P-256"]);
    assert.match(answer, /served/);
  });
}

for (const kind of ["P-384", "RSA"] as const) {
  test(`certificates of ${kind} are good for Envoy itself and for its clients`, { skip }, async () => {
    for (const answer of await answers("P-256", kind, [kind, "P-256"])) assert.match(answer, /served/);
  });
}

test("Envoy takes no certificate of Ed25519 from a client, which is why none is issued", { skip }, async () => {
  const [answer = ""] = await answers("P-256", "P-256", ["Ed25519"]);
  assert.match(answer, /^ERROR /);
});
