import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { type Secret, SecretSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { type DiscoveryRequest, type DiscoveryResponse, DiscoveryResponseSchema } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { SecretDiscoveryService } from "../gen/envoy/service/secret/v3/sds_pb.js";
import type { TlsMaterial } from "../rpc/credentials.ts";
import { serviceDefinition } from "../rpc/service.ts";
import { Credentials } from "./credentials.ts";
import { SecretClient } from "./secret-client.ts";

const ca = new FakeCa();
const IDENTITY = "spiffe://cluster.local/ns/a/sa/b";
const text = (value: string) => ({ specifier: { case: "inlineBytes" as const, value: Buffer.from(value) } });

function certificate({ key, chain }: TlsMaterial): Secret {
  return create(SecretSchema, {
    name: "default",
    type: { case: "tlsCertificate", value: { privateKey: text(key), certificateChain: text(chain) } },
  });
}

function roots(pem: string): Secret {
  return create(SecretSchema, { name: "ROOTCA", type: { case: "validationContext", value: { trustedCa: text(pem) } } });
}

/** An agent whose secrets a test sends, and that notes what it is asked and answered. */
class FakeAgent {
  readonly requests: DiscoveryRequest[] = [];
  readonly #server = new Server();
  readonly #waiting: (() => void)[] = [];
  #call: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse> | undefined;
  #nonce = 0;

  async start(socket: string): Promise<void> {
    const StreamSecrets = (call: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>) => {
      this.#call = call;
      call.on("error", () => undefined);
      call.on("data", (request: DiscoveryRequest) => {
        this.requests.push(request);
        for (const resolve of this.#waiting.splice(0)) resolve();
      });
    };
    this.#server.addService(serviceDefinition(SecretDiscoveryService), {
      StreamSecrets,
      DeltaSecrets: () => undefined,
      FetchSecrets: () => undefined,
    });
    await new Promise((resolve, reject) => {
      this.#server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve(undefined) : reject(error),
      );
    });
  }

  async request(count: number): Promise<DiscoveryRequest> {
    for (;;) {
      const found = this.requests[count - 1];
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Sends secrets and returns what the client answers. */
  async send(...secrets: readonly Secret[]): Promise<DiscoveryRequest> {
    const typeUrl = `type.googleapis.com/${SecretSchema.typeName}`;
    this.#nonce += 1;
    const resources = secrets.map((secret) => ({ typeUrl, value: toBinary(SecretSchema, secret) }));
    const answer = this.request(this.requests.length + 1);
    this.#call?.write(create(DiscoveryResponseSchema, { typeUrl, nonce: String(this.#nonce), versionInfo: `v${this.#nonce}`, resources }));
    return answer;
  }

  hangUp(): void {
    this.#call?.end();
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}

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
  await agent.send(certificate(first));
  assert.equal(credentials.material, undefined);
  const answer = await agent.send(roots(first.roots));
  assert.deepEqual([answer.versionInfo, answer.responseNonce, answer.errorDetail], ["v2", "2", undefined]);
  assert.deepEqual(credentials.material, first);
  await agent.send(certificate(second));
  assert.deepEqual(credentials.material, { ...second, roots: first.roots });
  const both = new FakeCa("next");
  await agent.send(roots(first.roots + both.rootPem));
  assert.deepEqual(credentials.material, { ...second, roots: first.roots + both.rootPem });
});

test("a secret that cannot be used is refused with the reason, and the last one stays in use", async () => {
  await agent.request(1);
  const good = ca.material(IDENTITY);
  await agent.send(certificate(good), roots(good.roots));
  const refused = await agent.send(certificate({ ...good, key: ca.material(IDENTITY).key }));
  assert.deepEqual([refused.versionInfo, refused.responseNonce], ["v1", "2"]);
  assert.equal(refused.errorDetail?.message, "the certificate, its key or the roots cannot be used");
  assert.deepEqual(credentials.material, good);
  const unknown = await agent.send(create(SecretSchema, { name: "other", type: { case: "genericSecret", value: {} } }));
  assert.equal(unknown.errorDetail?.message, "the secret `other` is not what was asked for");
  const next = ca.material(IDENTITY);
  assert.equal((await agent.send(certificate(next))).errorDetail, undefined);
  assert.deepEqual(credentials.material, next);
});

test("a stream that ends is opened again, and what was received stays in use", async () => {
  await agent.request(1);
  const good = ca.material(IDENTITY);
  await agent.send(certificate(good), roots(good.roots));
  agent.hangUp();
  const again = await agent.request(3);
  assert.deepEqual([again.node?.id, again.resourceNames], ["n", ["default", "ROOTCA"]]);
  assert.deepEqual(credentials.material, good);
});

test("no log line has a key or a certificate in it", async () => {
  await agent.request(1);
  const good = ca.material(IDENTITY);
  await agent.send(certificate(good), roots(good.roots));
  await agent.send(certificate({ ...good, key: ca.material(IDENTITY).key }));
  const log = JSON.stringify(logger.lines);
  assert.ok(logger.lines.length >= 2);
  assert.doesNotMatch(log, /BEGIN|PRIVATE|MI[A-Z]/);
});
