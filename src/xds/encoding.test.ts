import assert from "node:assert/strict";
import { test } from "node:test";
import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { DeltaDiscoveryResponseSchema, DiscoveryResponseSchema } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import type { Push } from "./push.ts";
import { deltaVariant } from "./stream-delta.ts";
import { sotwVariant } from "./stream-sotw.ts";

const resource = fc.record({ name: fc.string(), version: fc.string(), body: fc.uint8Array({ maxLength: 300 }) });
const push: fc.Arbitrary<Push> = fc.record({ resources: fc.array(resource), removed: fc.array(fc.string()), news: fc.constant([]) });
const header = fc.record({ typeUrl: fc.string({ maxLength: 200 }), nonce: fc.string(), version: fc.string() });

/** What was written, read; and the same bytes when the generated code writes it. */
function read<M extends DescMessage>(schema: M, bytes: Buffer): MessageShape<M> {
  const message = fromBinary(schema, bytes);
  assert.deepEqual(Buffer.from(toBinary(schema, message)), bytes);
  return message;
}

test("a delta response is written as the generated code writes it, with each resource by name and version", () => {
  fc.assert(
    fc.property(header, push, (head, given) => {
      const response = read(DeltaDiscoveryResponseSchema, deltaVariant.encode(head, given));
      assert.deepEqual([response.typeUrl, response.nonce, response.systemVersionInfo], [head.typeUrl, head.nonce, head.version]);
      assert.deepEqual(response.removedResources, given.removed);
      assert.deepEqual(
        response.resources.map(({ name, version, resource: any }) => [name, version, any?.typeUrl, Buffer.from(any?.value ?? [])]),
        given.resources.map(({ name, version, body }) => [name, version, head.typeUrl, Buffer.from(body)]),
      );
    }),
  );
});

test("a response of the state of the world is written as the generated code writes it", () => {
  fc.assert(
    fc.property(header, push, (head, given) => {
      const response = read(DiscoveryResponseSchema, sotwVariant.encode(head, given));
      assert.deepEqual([response.typeUrl, response.nonce, response.versionInfo], [head.typeUrl, head.nonce, head.version]);
      assert.deepEqual(
        response.resources.map(({ typeUrl, value }) => [typeUrl, Buffer.from(value)]),
        given.resources.map(({ body }) => [head.typeUrl, Buffer.from(body)]),
      );
    }),
  );
});
