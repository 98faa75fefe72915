import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { CONTROL_PLANE_IDENTITY } from "../../../test/fakes/fake-csr-server.ts";
import { startGrpcServer } from "../../../test/fixture/grpc-server.ts";
import { DecisionsRequestSchema, Replicas } from "../../gen/garrison/v1/replica_pb.js";
import { parseSpiffeId } from "../../identity/spiffe-id.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import { RotatingTlsMaterial } from "../../rpc/credentials.ts";
import { methodDefinition, serviceDefinition } from "../../rpc/service.ts";
import { OtherReplicas } from "./other-replicas.ts";
import { type ArrivedLine, replicaService } from "./replica-service.ts";

const METHOD = methodDefinition(Replicas.method.decisions);

const never = (): never => {
  throw new Error("nobody asks this");
};

/** What another replica receives of a record with these lines. */
async function setUp(t: TestContext, decisions: (query: URLSearchParams, signal: AbortSignal) => AsyncIterable<ArrivedLine>) {
  const proof = { identity: parseSpiffeId(CONTROL_PLANE_IDENTITY), by: "client certificate" };
  const byCertificate = { name: "client certificate", authenticate: async () => proof };
  const trustDomain = "cluster.local" as TrustDomain;
  const service = replicaService({ trustDomain, byCertificate, evidence: never, certificates: never, ledger: never, decisions });
  const { address, material } = await startGrpcServer(t, serviceDefinition(Replicas), service, CONTROL_PLANE_IDENTITY);
  const known = { addresses: new Map(), doubt: undefined };
  const others = new OtherReplicas({ trustDomain, material: new RotatingTlsMaterial(material), known: () => known });
  const gone = new AbortController();
  t.after(() => gone.abort());
  return others.stream(METHOD, create(DecisionsRequestSchema, { query: "effect=deny" }), address, gone.signal);
}

test("all lines of a long record come in their order, in messages of a bounded size, at the reader's pace", async (t) => {
  const line = "x".repeat(2_000);
  let made = 0;
  const stream = await setUp(t, async function* (query) {
    assert.equal(query.get("effect"), "deny");
    for (; made < 20_000; made++) yield { received: made, line };
  });
  const { value: first } = await stream.next();
  for (let turn = 0; turn < 1_000; turn++) await new Promise(setImmediate);
  assert.ok(made < 10_000, `${made} lines were made for a reader that does not read`);
  const sizes = [first?.decisions.length ?? 0];
  let last = Number(first?.decisions.at(-1)?.receivedMs);
  for await (const { decisions } of stream) {
    sizes.push(decisions.length);
    for (const { receivedMs } of decisions) assert.equal(Number(receivedMs), ++last);
  }
  assert.equal(last, 19_999);
  assert.ok(Math.max(...sizes) <= 132, "256 KiB and a line");
});

test("a replica that finds nothing for long says that it is still looking", async (t) => {
  const stream = await setUp(t, async function* (_query, signal) {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  });
  for (let count = 0; count < 2; count++) assert.deepEqual((await stream.next()).value?.decisions, []);
});

test("a question that is not understood is refused", async (t) => {
  const stream = await setUp(t, () => {
    throw new TypeError("of no kind");
  });
  await assert.rejects(stream.next(), { code: "internal" });
});
