import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import { CONTROL_PLANE_IDENTITY } from "../../../test/fakes/fake-csr-server.ts";
import { startGrpcServer } from "../../../test/fixture/grpc-server.ts";
import {
  CertificatesRequestSchema,
  CertificatesResponseSchema,
  DecisionsRequestSchema,
  DecisionsResponseSchema,
  Replicas,
} from "../../gen/garrison/v1/replica_pb.js";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import { RotatingTlsMaterial } from "../../rpc/credentials.ts";
import { methodDefinition, serviceDefinition } from "../../rpc/service.ts";
import { OtherReplicas } from "./other-replicas.ts";

const CERTIFICATES = methodDefinition(Replicas.method.certificates);
const DECISIONS = methodDefinition(Replicas.method.decisions);
const REQUEST = create(CertificatesRequestSchema, { of: { case: "serial", value: "ab" } });
const WHOLE = serviceDefinition(Replicas);

interface SetUp {
  readonly definition?: ServiceDefinition;
  readonly trustDomain?: string;
  readonly addresses?: Readonly<Record<string, string>>;
  readonly doubt?: string;
}

/** Another replica, `other`, with these methods, and those that are named. */
async function setUp(t: TestContext, methods: UntypedServiceImplementation, { definition = WHOLE, doubt, ...rest }: SetUp = {}) {
  const server = await startGrpcServer(t, definition, methods, CONTROL_PLANE_IDENTITY);
  const addresses = new Map(Object.entries({ other: server.address, ...rest.addresses }));
  const others = new OtherReplicas({
    trustDomain: (rest.trustDomain ?? "cluster.local") as TrustDomain,
    material: new RotatingTlsMaterial(server.material),
    known: () => ({ addresses, doubt }),
    silenceMs: 2_000,
  });
  return { address: server.address, ask: (ms = 5_000) => others.ask(CERTIFICATES, REQUEST, ms, () => "read"), others };
}

const answers: UntypedServiceImplementation = {
  Certificates: (_call: unknown, callback: (error: null, message: unknown) => void) => callback(null, create(CertificatesResponseSchema)),
};

test("who answers is read, and who does not say where it is reached is told", async (t) => {
  const { others } = await setUp(t, answers);
  const known = { ...others.known, addresses: new Map([...others.known.addresses, ["mute", undefined]]) };
  t.mock.getter(others, "known", () => known);
  assert.deepEqual(await others.ask(CERTIFICATES, REQUEST, 5_000, () => "read"), {
    answers: [{ replica: "other", answer: "read" }],
    unasked: ["mute: it does not say where it is reached (--replica-address)"],
  });
});

test("one of an older version, which does not know the method, is told", async (t) => {
  const { Certificates: _later, ...older } = WHOLE;
  const { ask } = await setUp(t, {}, { definition: older });
  assert.deepEqual(await ask(), { answers: [], unasked: ["other: it is of another version, and cannot be asked this"] });
});

test("one that does not answer is waited for no longer than said", async (t) => {
  const { ask } = await setUp(t, { Certificates: () => undefined });
  assert.deepEqual(await ask(200), { answers: [], unasked: ["other: it did not answer for 0.2 s"] });
});

test("one that cannot be reached keeps nobody from being asked", async (t) => {
  const { ask } = await setUp(t, answers, { addresses: { dead: "127.0.0.1:1" } });
  const { answers: found, unasked } = await ask();
  assert.deepEqual(found, [{ replica: "other", answer: "read" }]);
  assert.match(unasked.join(), /^dead: it cannot be reached: connect ECONNREFUSED 127\.0\.0\.1:1$/);
});

test("whoever does not prove to be the control plane is not believed", async (t) => {
  const { ask } = await setUp(t, answers, { trustDomain: "other.example" });
  const { answers: found, unasked } = await ask();
  assert.deepEqual(found, []);
  assert.match(unasked.join(), /^other: .*the server is not the control plane/);
});

test("what cannot be read counts as no answer, and a doubt about who there is is told", async (t) => {
  const { others } = await setUp(t, answers, { doubt: "any other" });
  const read = () => {
    throw new Error("of no form");
  };
  assert.deepEqual(await others.ask(CERTIFICATES, REQUEST, 5_000, read), { answers: [], unasked: ["any other", "other: of no form"] });
});

test("a stream gives its messages, and fails once it is silent", async (t) => {
  const message = create(DecisionsResponseSchema, { decisions: [{ receivedMs: 7n, record: "{}" }] });
  const { others, address } = await setUp(t, { Decisions: (call: { write(message: unknown): void }) => call.write(message) });
  const stream = others.stream(DECISIONS, create(DecisionsRequestSchema), address, new AbortController().signal);
  assert.deepEqual((await stream.next()).value?.decisions, message.decisions);
  await assert.rejects(stream.next(), { code: "deadline-exceeded", message: "it did not answer for 2 s" });
});

test("a stream ends with the signal, and its replica learns of it", async (t) => {
  const left = Promise.withResolvers<void>();
  const { others, address } = await setUp(t, {
    Decisions: (call: { write(message: unknown): void; on(event: string, listener: () => void): void }) => {
      call.on("cancelled", () => left.resolve());
      call.write(create(DecisionsResponseSchema));
    },
  });
  const gone = new AbortController();
  const stream = others.stream(DECISIONS, create(DecisionsRequestSchema), address, gone.signal);
  assert.equal((await stream.next()).done, false);
  gone.abort();
  assert.equal((await stream.next()).done, true);
  await left.promise;
});
