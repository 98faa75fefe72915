/** Envoy's access logs as the agent beside it passes them on. */
import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { HTTPAccessLogEntrySchema, TCPAccessLogEntrySchema } from "../gen/envoy/data/accesslog/v3/accesslog_pb.js";
import type { EnvoyLog } from "../gen/garrison/v1/proxy_pb.js";
import { readHttpEntry, readTcpEntry } from "./als-entry.ts";
import type { EntrySource } from "./als-fields.ts";
import type { EntryMeaning } from "./record.ts";

export interface EnvoyEntries {
  readonly meanings: readonly EntryMeaning[];
  readonly count: number;
  /** Entries among them that cannot be read, and mean nothing. */
  readonly malformed: number;
}

/** What cannot be read must not come again and again: it is an entry like the others. */
function decode<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> | undefined {
  try {
    return fromBinary(schema, bytes);
  } catch {
    return undefined;
  }
}

/** What the first `max` entries of these logs mean, in their order. */
export function readEnvoyLogs(logs: readonly EnvoyLog[], of: Omit<EntrySource, "log">, max: number): EnvoyEntries {
  const meanings: EntryMeaning[] = [];
  let [count, malformed] = [0, 0];
  const add = (meaning: EntryMeaning | undefined) => {
    if (meaning === undefined) malformed++;
    meanings.push(meaning ?? { kind: "nothing" });
  };
  for (const { name, http, tcp } of logs) {
    const from = { ...of, log: name };
    const read = [
      ...(http?.entry ?? []).map((bytes) => () => decodeWith(HTTPAccessLogEntrySchema, bytes, (entry) => readHttpEntry(entry, from))),
      ...(tcp?.entry ?? []).map((bytes) => () => decodeWith(TCPAccessLogEntrySchema, bytes, (entry) => readTcpEntry(entry, from))),
    ];
    for (const one of read.slice(0, max - meanings.length)) add(one());
    count += read.length;
  }
  return { meanings, count, malformed };
}

function decodeWith<D extends DescMessage>(
  schema: D,
  bytes: Uint8Array,
  read: (entry: MessageShape<D>) => EntryMeaning,
): EntryMeaning | undefined {
  const entry = decode(schema, bytes);
  return entry === undefined ? undefined : read(entry);
}
