import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  type HTTPAccessLogEntrySchema,
  HTTPAccessLogEntrySchema as HttpEntry,
  TCPAccessLogEntrySchema as TcpEntry,
} from "../../gen/envoy/data/accesslog/v3/accesslog_pb.js";
import { StreamAccessLogsMessageSchema } from "../../gen/envoy/service/accesslog/v3/als_pb.js";
import { ReportRequestSchema, ReportResponseSchema } from "../../gen/garrison/v1/proxy_pb.js";
import { decodeLogMessage, type LogBlock, REPORT } from "./messages.ts";

const NODE = { id: "sidecar~10.0.0.5~a.b~b.svc.cluster.local", cluster: "a.b", metadata: { NAMESPACE: "b", WORKLOAD_NAME: "a" } };
const request = (path: string): MessageInitShape<typeof HTTPAccessLogEntrySchema> => ({ request: { path } });

function httpLogs(...paths: readonly string[]): Uint8Array {
  const identifier = { node: { id: "somebody-else" }, logName: "inbound_8080" };
  const logEntries = { case: "httpLogs", value: { logEntry: paths.map(request) } } as const;
  return toBinary(StreamAccessLogsMessageSchema, create(StreamAccessLogsMessageSchema, { identifier, logEntries }));
}

describe("a message of Envoy's", () => {
  it("is read to its log's name and its entries, which stay as they are", () => {
    const { log, parts } = decodeLogMessage(httpLogs("/1", "/2"));
    assert.equal(log, "inbound_8080");
    assert.deepEqual(
      parts.map(({ kind, count }) => [kind, count]),
      [["http", 2]],
    );
  });

  it("keeps no other bytes in memory than its entries", () => {
    const large = Buffer.alloc(1 << 20);
    const bytes = httpLogs("/1");
    large.set(bytes);
    const { parts } = decodeLogMessage(large.subarray(0, bytes.length));
    assert.ok((parts[0]?.entries.buffer.byteLength ?? large.length) < 100);
  });

  it("has no name where it is not a stream's first, and no part where it has no entries", () => {
    const empty = create(StreamAccessLogsMessageSchema, { logEntries: { case: "tcpLogs", value: { logEntry: [] } } });
    assert.deepEqual(decodeLogMessage(toBinary(StreamAccessLogsMessageSchema, empty)), { log: undefined, parts: [] });
  });

  it("is refused where it is none", () => {
    assert.throws(() => decodeLogMessage(Buffer.from([0x12, 0x7f, 0x01])));
    assert.throws(() => decodeLogMessage(Buffer.from([0x12, 0x02, 0x0a, 0x7f])));
  });
});

describe("a report", () => {
  it("begins with who reports, under which name", () => {
    const { node, run, first, envoy } = fromBinary(ReportRequestSchema, REPORT.requestSerialize({ kind: "hello", node: NODE, run: "abc" }));
    assert.deepEqual([node?.id, node?.cluster, node?.metadata], [NODE.id, NODE.cluster, NODE.metadata]);
    assert.deepEqual([run, first, envoy], ["abc", 0n, []]);
  });

  it("has the entries as Envoy wrote them, in their logs", () => {
    const [http] = decodeLogMessage(httpLogs("/1", "/2")).parts;
    const tcpLogs = create(StreamAccessLogsMessageSchema, {
      logEntries: { case: "tcpLogs", value: { logEntry: [{ connectionProperties: { receivedBytes: 7n } }] } },
    });
    const [tcp] = decodeLogMessage(toBinary(StreamAccessLogsMessageSchema, tcpLogs)).parts;
    assert.ok(http !== undefined && tcp !== undefined);
    const blocks: LogBlock[] = [
      { log: "inbound_8080", ...http },
      { log: "inbound_9090/refused", ...tcp },
    ];
    const bytes = REPORT.requestSerialize({ kind: "records", first: 2 ** 40, lost: 3, blocks });
    const { first, lost, envoy } = fromBinary(ReportRequestSchema, bytes);
    assert.deepEqual([first, lost], [BigInt(2 ** 40), 3n]);
    assert.deepEqual(
      envoy.map(({ name, http: requests, tcp: connections }) => [
        name,
        requests?.entry.map((entry) => fromBinary(HttpEntry, entry).request?.path),
        connections?.entry.map((entry) => fromBinary(TcpEntry, entry).connectionProperties?.receivedBytes),
      ]),
      [
        ["inbound_8080", ["/1", "/2"], undefined],
        ["inbound_9090/refused", undefined, [7n]],
      ],
    );
  });

  it("is answered by how much is taken in", () => {
    const answer = toBinary(ReportResponseSchema, create(ReportResponseSchema, { accepted: 12_345n }));
    assert.equal(REPORT.responseDeserialize(Buffer.from(answer)), 12_345);
    assert.equal(REPORT.responseDeserialize(Buffer.alloc(0)), 0);
  });
});
