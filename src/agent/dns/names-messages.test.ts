import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { NamesReportSchema, NamesUpdateSchema, NameTableChangeSchema, NameTables } from "../../gen/garrison/v1/names_pb.js";
import { methodDefinition } from "../../rpc/service.ts";
import { decodeNamesUpdate, FOLLOW_NAMES } from "./names-messages.ts";

const text = fc.string({ unit: "grapheme", maxLength: 40 });
const addresses = fc.array(fc.oneof(fc.ipV4(), fc.ipV6()), { maxLength: 3 });
const names = fc.uniqueArray(fc.record({ host: fc.domain(), addresses }), { selector: ({ host }) => host, maxLength: 5 });

function update(change: Parameters<typeof create<typeof NameTableChangeSchema>>[1], nonce = ""): Uint8Array {
  const bytes = toBinary(NameTableChangeSchema, create(NameTableChangeSchema, change));
  return toBinary(NamesUpdateSchema, create(NamesUpdateSchema, { nonce, change: bytes }));
}

describe("messages of names, written and read by hand", () => {
  it("agree with the generated code", () => {
    fc.assert(
      fc.property(text, text, fc.boolean(), fc.boolean(), names, fc.array(text), (nonce, version, whole, closed, all, removed) => {
        const domain = "cluster.local";
        const read = decodeNamesUpdate(update({ version, whole, domain, closed, names: all, removed }, nonce));
        const expected = { version, whole, domain, closed, names: new Map(all.map((name) => [name.host, name.addresses])), removed };
        assert.deepEqual(read, { nonce, change: expected });
      }),
    );
    fc.assert(
      fc.property(text, text, text, (workload, version, nonce) => {
        const report = fromBinary(NamesReportSchema, FOLLOW_NAMES.requestSerialize({ workload, version, nonce }));
        assert.deepEqual([report.workload, report.version, report.nonce], [workload, version, nonce]);
      }),
    );
    assert.equal(FOLLOW_NAMES.path, methodDefinition(NameTables.method.follow).path);
  });

  it("are refused where an address is none", () => {
    assert.throws(() => decodeNamesUpdate(update({ names: [{ host: "a.example", addresses: ["10.0.0.1", "b.example"] }] })), /are none/);
    assert.throws(() => decodeNamesUpdate(update({ names: [{ addresses: ["10.0.0.1"] }] })), RangeError);
  });
});
