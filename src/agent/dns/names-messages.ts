/** The messages of `garrison.v1.NameTables` (proto/garrison/v1/names.proto). */
import { isIP } from "node:net";
import type { MethodDefinition } from "@grpc/grpc-js";
import { encodeMessage, readFields, textOf } from "../protobuf.ts";

/** What makes the newest table of the one that is held, or of nothing. */
export interface NameTableChange {
  readonly version: string;
  readonly whole: boolean;
  /** The end of the names of services: `NAME.NAMESPACE.svc.DOMAIN`. */
  readonly domain: string;
  /** Nobody else has names below the domain. */
  readonly closed: boolean;
  /** Addresses by host. */
  readonly names: ReadonlyMap<string, readonly string[]>;
  readonly removed: readonly string[];
}

export interface NamesUpdate {
  readonly nonce: string;
  readonly change: NameTableChange;
}

export interface NamesReport {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** Of the table that is held; empty for none. */
  readonly version: string;
  /** Of the update that made it; empty in the first report. */
  readonly nonce: string;
}

function addName(names: Map<string, readonly string[]>, bytes: Uint8Array): void {
  let host = "";
  const addresses: string[] = [];
  readFields(bytes, { 1: (value) => (host = textOf(value)), 2: (value) => addresses.push(textOf(value)) });
  if (host === "" || addresses.some((address) => isIP(address) === 0)) throw new RangeError(`the addresses of \`${host}\` are none`);
  names.set(host, addresses);
}

function decodeChange(bytes: Uint8Array): NameTableChange {
  let [version, domain] = ["", ""];
  let [whole, closed] = [false, false];
  const names = new Map<string, readonly string[]>();
  const removed: string[] = [];
  readFields(
    bytes,
    {
      1: (value) => (version = textOf(value)),
      3: (value) => (domain = textOf(value)),
      5: (value) => addName(names, value),
      6: (value) => removed.push(textOf(value)),
    },
    { 2: (value) => (whole = value !== 0), 4: (value) => (closed = value !== 0) },
  );
  return { version, whole, domain, closed, names, removed };
}

/** Throws a RangeError or TypeError for what is no update. */
export function decodeNamesUpdate(bytes: Uint8Array): NamesUpdate {
  let nonce = "";
  let change: Uint8Array = new Uint8Array();
  readFields(bytes, { 1: (value) => (nonce = textOf(value)), 2: (value) => (change = value) });
  return { nonce, change: decodeChange(change) };
}

function encodeNamesReport({ workload, version, nonce }: NamesReport): Buffer {
  return encodeMessage([
    [1, workload],
    [2, version],
    [3, nonce],
  ]);
}

type FollowMethod = Pick<MethodDefinition<NamesReport, NamesUpdate>, "path" | "requestSerialize" | "responseDeserialize">;

export const FOLLOW_NAMES: FollowMethod = {
  path: "/garrison.v1.NameTables/Follow",
  requestSerialize: encodeNamesReport,
  responseDeserialize: decodeNamesUpdate,
};
