/**
 * What Envoy writes to its access logs (`StreamAccessLogsMessage`, `als.proto`), and the same as the control plane takes it
 * (`garrison.v1.ReportRequest`). The entries themselves are bytes here: what they mean, the control plane knows alone.
 */
import type { ProxyNode } from "../agent-options.ts";
import type { ClientMethod } from "../control-plane-call.ts";
import { encodeMessage, type Message, readFields, textOf } from "../protobuf.ts";

/** What one message of Envoy's added to one of its logs. */
export interface LogBlock {
  /** The log's name. */
  readonly log: string;
  readonly kind: "http" | "tcp";
  /** An `HTTPAccessLogEntries` or `TCPAccessLogEntries`, encoded. */
  readonly entries: Uint8Array;
  /** How many there are. */
  readonly count: number;
}

export interface LogMessage {
  /** The log's name, in the first message of a stream. */
  readonly log: string | undefined;
  readonly parts: readonly Omit<LogBlock, "log">[];
}

/** A copy: what came from a connection lies in a buffer that is many times as large. */
function partOf(kind: LogBlock["kind"], entries: Uint8Array): Omit<LogBlock, "log"> {
  let count = 0;
  readFields(entries, { 1: () => count++ });
  return { kind, entries: new Uint8Array(entries), count };
}

/** Throws for what is no message. */
export function decodeLogMessage(bytes: Uint8Array): LogMessage {
  const parts: Omit<LogBlock, "log">[] = [];
  let log: string | undefined;
  readFields(bytes, {
    1: (identifier) => readFields(identifier, { 2: (name) => (log = textOf(name)) }),
    2: (entries) => parts.push(partOf("http", entries)),
    3: (entries) => parts.push(partOf("tcp", entries)),
  });
  return { log, parts: parts.filter(({ count }) => count > 0) };
}

/** A stream's first word, and what is reported by it. */
export type Report =
  | { readonly kind: "hello"; readonly node: ProxyNode; readonly run: string }
  | { readonly kind: "records"; readonly first: number; readonly lost: number; readonly blocks: readonly LogBlock[] };

/** `google.protobuf.Struct` of texts. */
function structOf(texts: Readonly<Record<string, string>>): Message {
  return Object.entries(texts).map(([key, text]): Message[number] => [
    1,
    [
      [1, key],
      [2, [[3, text]]],
    ],
  ]);
}

function nodeOf({ id, cluster, metadata }: ProxyNode): Message {
  return [
    [1, id],
    [2, cluster],
    [3, structOf(metadata)],
  ];
}

/** `ReportRequest`. */
function encodeReport(report: Report): Buffer {
  if (report.kind === "hello") {
    return encodeMessage([
      [2, nodeOf(report.node)],
      [3, report.run],
    ]);
  }
  const { first, lost, blocks } = report;
  return encodeMessage([
    [4, BigInt(first)],
    [5, BigInt(lost)],
    ...blocks.map(({ log, kind, entries }): Message[number] => [
      6,
      [
        [1, log],
        [kind === "http" ? 2 : 3, entries],
      ],
    ]),
  ]);
}

/** `ReportResponse`: how many entries are taken in, over the life of the stream. */
function decodeAccepted(bytes: Uint8Array): number {
  let accepted = 0;
  readFields(bytes, {}, { 1: (value) => (accepted = value) });
  return accepted;
}

export const REPORT: ClientMethod<Report, number> = {
  path: "/garrison.v1.DecisionLog/Report",
  requestSerialize: encodeReport,
  responseDeserialize: decodeAccepted,
};
