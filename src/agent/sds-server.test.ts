import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { SdsTestClient, type SdsTestStream, secretText } from "../../test/fakes/sds-client.ts";
import { generateKey, spkiOf } from "../x509/csr-builder.ts";
import { checkIssuedCertificate, exportKey, type IssuedCertificate } from "./issued-certificate.ts";
import { SdsServer } from "./sds-server.ts";
import { SecretStore } from "./secrets.ts";
import { systemTimers } from "./timers.ts";

const IDENTITY = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend";
const ca = new FakeCa();

function certificate(issuer = ca): IssuedCertificate {
  const privateKey = generateKey();
  const leaf = issuer.sign({ spki: spkiOf(privateKey), identities: [IDENTITY] });
  return checkIssuedCertificate({ elements: [leaf, issuer.rootPem], privateKey, identity: IDENTITY, now: Date.now() });
}

let folder: string;
let socket: string;
let store: SecretStore;
let logger: RecordingLogger;
let server: SdsServer;
let client: SdsTestClient;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "garrison-sds-"));
  socket = join(folder, "sds.sock");
  store = new SecretStore(IDENTITY);
  logger = new RecordingLogger();
  server = await SdsServer.start({ socket, store, timers: systemTimers, logger });
  client = new SdsTestClient(socket);
});
afterEach(() => {
  client.close();
  server.close();
  rmSync(folder, { recursive: true });
});

/** Takes the next response and accepts it. */
async function accept(stream: SdsTestStream) {
  const response = await stream.next();
  stream.send({ nonce: response.nonce });
  return response;
}

describe("the SDS socket", () => {
  it("is for its own user alone", () => {
    assert.equal(statSync(socket).mode & 0o777, 0o600);
  });

  it("replaces what a dead agent left behind, and not a living one's", async () => {
    await assert.rejects(SdsServer.start({ socket, store, timers: systemTimers, logger }), { code: "address-in-use" });
    server.close();
    server = await SdsServer.start({ socket, store, timers: systemTimers, logger });
    store.update(certificate());
    const { resources } = await client.fetch("default");
    assert.equal(resources.length, 1);
  });
});

for (const kind of ["sotw", "delta"] as const) {
  describe(`an SDS stream (${kind})`, () => {
    it("brings the key with its chain, and the roots, each under its name", async () => {
      const current = certificate();
      store.update(current);
      const stream = client.open(kind);
      stream.send({ subscribe: ["default", "ROOTCA"] });
      const { secrets } = await stream.next();
      const texts = new Map(secrets.map((secret) => [secret.name, secretText(secret)]));
      assert.deepEqual(texts.get("default"), { chain: current.chain, key: exportKey(current.privateKey) });
      assert.deepEqual(texts.get("ROOTCA"), { roots: ca.rootPem });
    });

    it("waits for the first certificate", async () => {
      const stream = client.open(kind);
      stream.send({ subscribe: ["default"] });
      const response = stream.next();
      store.update(certificate());
      assert.deepEqual(
        (await response).secrets.map(({ name }) => name),
        ["default"],
      );
    });

    it("brings each new certificate at once, and the roots only when they change", async () => {
      store.update(certificate());
      const identity = client.open(kind);
      const roots = client.open(kind);
      identity.send({ subscribe: ["default"] });
      roots.send({ subscribe: ["ROOTCA"] });
      await accept(identity);
      await accept(roots);

      const second = certificate();
      store.update(second);
      assert.equal(secretText((await accept(identity)).secrets[0]).chain, second.chain);
      await server.whenAccepted("default", second.serial, 10_000);
      assert.equal(roots.unread, 0);

      const other = new FakeCa("other");
      store.update(certificate(other));
      await accept(identity);
      assert.equal(secretText((await accept(roots)).secrets[0]).roots, other.rootPem);
    });

    it("is told to have been accepted when every subscriber has said so", async () => {
      const current = certificate();
      store.update(current);
      const streams = [client.open(kind), client.open(kind)];
      for (const stream of streams) stream.send({ subscribe: ["default"] });
      const responses = await Promise.all(streams.map((stream) => stream.next()));
      await assert.rejects(server.whenAccepted("default", current.serial, 30), { code: "deadline-exceeded" });
      for (const [index, stream] of streams.entries()) stream.send({ nonce: responses[index]?.nonce ?? "" });
      assert.equal(await server.whenAccepted("default", current.serial, 10_000), 2);
    });

    it("is told to have been refused, with the proxy's reason, and not sent again until it changes", async () => {
      const current = certificate();
      store.update(current);
      const stream = client.open(kind);
      stream.send({ subscribe: ["default"] });
      const { nonce } = await stream.next();
      stream.send({ nonce, refusal: "bad\nkey" });
      await assert.rejects(server.whenAccepted("default", current.serial, 10_000), {
        message: "the proxy refused the secret `default`: bad\nkey",
      });
      assert.equal((await logger.line("the proxy refused a secret")).fields.reason, "bad\\u000akey");
      const second = certificate();
      store.update(second);
      assert.equal(secretText((await accept(stream)).secrets[0]).chain, second.chain);
      assert.equal(stream.unread, 0);
      assert.equal(await server.whenAccepted("default", second.serial, 10_000), 1);
    });

    it("brings a name that is asked for later", async () => {
      store.update(certificate());
      const stream = client.open(kind);
      stream.send({ subscribe: ["default"] });
      const { nonce } = await stream.next();
      stream.send({ nonce, subscribe: ["ROOTCA"] });
      const { secrets } = await accept(stream);
      assert.deepEqual(
        secrets.map(({ name }) => name),
        ["ROOTCA"],
      );
    });

    it("brings nothing of a name that is no longer asked for", async () => {
      store.update(certificate());
      const stream = client.open(kind);
      stream.send({ subscribe: ["default", "ROOTCA"] });
      const { nonce } = await stream.next();
      stream.send({ nonce, unsubscribe: ["default"] });
      const other = new FakeCa("other");
      assert.equal(await server.whenAccepted("default", "any", 10_000), 0);
      store.update(certificate(other));
      const { secrets } = await stream.next();
      assert.deepEqual(
        secrets.map(({ name }) => name),
        ["ROOTCA"],
      );
    });

    it("ends with NOT_FOUND for a name that does not exist, and the log tells which", async () => {
      const stream = client.open(kind);
      stream.send({ subscribe: ["default", "spiffe://cluster.local/ns/photo-ns/sa/other"] });
      assert.equal((await stream.ended).code, status.NOT_FOUND);
      assert.match(
        String((await logger.line("an SDS stream was ended")).fields.error),
        /`spiffe:\/\/cluster\.local\/ns\/photo-ns\/sa\/other`/,
      );
      assert.equal(server.streams, 0);
    });

    it("ends with PERMISSION_DENIED for files where none are allowed", async () => {
      const stream = client.open(kind);
      stream.send({ subscribe: ["default", "file-root:/etc/ssl/certs/ca-certificates.crt"] });
      assert.equal((await stream.ended).code, status.PERMISSION_DENIED);
    });

    it("brings key and roots also by SPIFFE ID and trust domain, each under the name that was asked for", async () => {
      const current = certificate();
      store.update(current);
      const stream = client.open(kind);
      stream.send({ subscribe: [IDENTITY, "spiffe://cluster.local"] });
      const { secrets } = await stream.next();
      const texts = new Map(secrets.map((secret) => [secret.name, secretText(secret)]));
      assert.deepEqual(texts.get(IDENTITY), { chain: current.chain, key: exportKey(current.privateKey) });
      assert.deepEqual(texts.get("spiffe://cluster.local"), { roots: ca.rootPem });
    });

    it("ends for resources of another type", async () => {
      const stream = client.open(kind);
      stream.send({ subscribe: ["default"], typeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster" });
      assert.equal((await stream.ended).code, status.INVALID_ARGUMENT);
    });

    it("ends for a flood of names", async () => {
      const stream = client.open(kind);
      stream.send({ subscribe: Array.from({ length: 500 }, (_, index) => `name-${index}`) });
      assert.equal((await stream.ended).code, status.RESOURCE_EXHAUSTED);
    });

    it("ignores an answer to an outdated response", async () => {
      const first = certificate();
      store.update(first);
      const stream = client.open(kind);
      stream.send({ subscribe: ["default"] });
      const old = await stream.next();
      const second = certificate();
      store.update(second);
      const fresh = await stream.next();
      stream.send({ nonce: old.nonce, refusal: "too late" });
      stream.send({ nonce: fresh.nonce });
      assert.equal(await server.whenAccepted("default", second.serial, 10_000), 1);
      assert.equal(logger.messages.includes("error: the proxy refused a secret"), false);
    });
  });
}

describe("SDS", () => {
  it("sends a reconnecting delta client nothing that it has", async () => {
    const current = certificate();
    store.update(current);
    const stream = client.open("delta");
    stream.send({ subscribe: ["default", "ROOTCA"], held: { default: current.serial } });
    const { secrets } = await stream.next();
    assert.deepEqual(
      secrets.map(({ name }) => name),
      ["ROOTCA"],
    );
    assert.equal(await server.whenAccepted("default", current.serial, 10_000), 1);
  });

  it("holds nobody up that has gone: a renewal waits for those who are there", async () => {
    const current = certificate();
    store.update(current);
    const stream = client.open("sotw");
    stream.send({ subscribe: ["default"] });
    await stream.next();
    const accepted = server.whenAccepted("default", current.serial, 20_000);
    stream.cancel();
    assert.equal(await accepted, 0);
  });

  it("bounds the streams that are open at once", async () => {
    const streams = Array.from({ length: 65 }, () => client.open("sotw"));
    for (const stream of streams) stream.send({ subscribe: ["default"] });
    const refused = await Promise.any(streams.map(async (stream) => (await stream.ended).code));
    assert.equal(refused, status.RESOURCE_EXHAUSTED);
    assert.equal(server.streams, 64);
  });

  it("keeps the newest for a client that does not read, and queues nothing", async () => {
    store.update(certificate());
    const stream = client.open("sotw");
    stream.send({ subscribe: ["default"] });
    await stream.next();
    for (let count = 0; count < 200; count++) store.update(certificate());
    const sent = logger.lines.filter(({ message }) => message === "secret sent to the proxy").length;
    assert.ok(sent < 100, `${sent} of 200 were written while nobody could read`);
    const newest = certificate();
    store.update(newest);
    let chain: string | undefined;
    while (chain !== newest.chain) chain = secretText((await accept(stream)).secrets[0]).chain;
    assert.equal(await server.whenAccepted("default", newest.serial, 10_000), 1);
  });

  it("answers a single fetch, also while there is nothing to give", async () => {
    await assert.rejects(client.fetch("default"), { code: status.UNAVAILABLE });
    await assert.rejects(client.fetch("other"), { code: status.NOT_FOUND });
    store.update(certificate());
    const { resources, versionInfo } = await client.fetch("default", "ROOTCA");
    assert.equal(resources.length, 2);
    assert.match(versionInfo, /^[0-9a-f]+\+[0-9a-f]{16}$/);
  });
});
