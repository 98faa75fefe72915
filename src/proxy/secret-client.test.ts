import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { certificateSecret, FakeAgent, rootsSecret } from "../../test/fakes/fake-agent.ts";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { SecretSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { Credentials } from "./credentials.ts";
import { SecretClient } from "./secret-client.ts";

const ca = new FakeCa();
const IDENTITY = "spiffe://cluster.local/ns/a/sa/b";
let folder: string;
let agent: FakeAgent;
let client: SecretClient;
let credentials: Credentials;
let logger: RecordingLogger;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "gp-"));
  agent = new FakeAgent();
  credentials = new Credentials();
  logger = new RecordingLogger();
  const socket = join(folder, "sds.sock");
  await agent.start(socket);
  client = new SecretClient({ socket, node: { id: "n", cluster: "c", metadata: {} }, credentials, logger });
});
afterEach(() => {
  client.stop();
  agent.stop();
  rmSync(folder, { recursive: true });
});

test("the first request says who asks and names both secrets", async () => {
  const { node, resourceNames, responseNonce } = await agent.request(1);
  assert.deepEqual([node?.id, resourceNames, responseNonce], ["n", ["default", "ROOTCA"], ""]);
});

test("a certificate is in use when its roots are there as well, and each change replaces its part", async () => {
  await agent.request(1);
  const [first, second] = [ca.material(IDENTITY), ca.material(IDENTITY)];
  await agent.send(certificateSecret(first));
  assert.equal(credentials.material, undefined);
  const answer = await agent.send(rootsSecret(first.roots));
  assert.deepEqual([answer.versionInfo, answer.responseNonce, answer.errorDetail], ["v2", "2", undefined]);
  assert.deepEqual(credentials.material, first);
  await agent.send(certificateSecret(second));
  assert.deepEqual(credentials.material, { ...second, roots: first.roots });
  const both = new FakeCa("next");
  await agent.send(rootsSecret(first.roots + both.rootPem));
  assert.deepEqual(credentials.material, { ...second, roots: first.roots + both.rootPem });
});

test("a secret that cannot be used is refused with the reason, and the last one stays in use", async () => {
  await agent.request(1);
  const good = ca.material(IDENTITY);
  await agent.send(certificateSecret(good), rootsSecret(good.roots));
  const refused = await agent.send(certificateSecret({ ...good, key: ca.material(IDENTITY).key }));
  assert.deepEqual([refused.versionInfo, refused.responseNonce], ["v1", "2"]);
  assert.equal(refused.errorDetail?.message, "the certificate, its key or the roots cannot be used");
  assert.deepEqual(credentials.material, good);
  const unknown = await agent.send(create(SecretSchema, { name: "other", type: { case: "genericSecret", value: {} } }));
  assert.equal(unknown.errorDetail?.message, "the secret `other` is not what was asked for");
  const next = ca.material(IDENTITY);
  assert.equal((await agent.send(certificateSecret(next))).errorDetail, undefined);
  assert.deepEqual(credentials.material, next);
});

test("a stream that ends is opened again, and what was received stays in use", async () => {
  await agent.request(1);
  const good = ca.material(IDENTITY);
  await agent.send(certificateSecret(good), rootsSecret(good.roots));
  agent.hangUp();
  const again = await agent.request(3);
  assert.deepEqual([again.node?.id, again.resourceNames], ["n", ["default", "ROOTCA"]]);
  assert.deepEqual(credentials.material, good);
});

test("no log line has a key or a certificate in it", async () => {
  await agent.request(1);
  const good = ca.material(IDENTITY);
  await agent.send(certificateSecret(good), rootsSecret(good.roots));
  await agent.send(certificateSecret({ ...good, key: ca.material(IDENTITY).key }));
  const log = JSON.stringify(logger.lines);
  assert.ok(logger.lines.length >= 2);
  assert.doesNotMatch(log, /BEGIN|PRIVATE|MI[A-Z]/);
});
