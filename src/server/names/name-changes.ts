/** A name table as it is sent: whole, or what makes it of an earlier one. Agents that see the same get the same bytes, made once. */
import { hash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import type { NameTable } from "../../compile/names.ts";
import { type Name, NameSchema, type NameTableChange, NameTableChangeSchema } from "../../gen/garrison/v1/names_pb.js";

/** Characters of base64url: 132 bits of SHA-256. */
const VERSION_LENGTH = 22;

/** A function of objects that never change, its results kept with them. */
function keptBy<Key extends object, Result>(make: (key: Key) => Result): (key: Key) => Result {
  const known = new WeakMap<Key, { readonly result: Result }>();
  return (key) => {
    const kept = known.get(key) ?? { result: make(key) };
    known.set(key, kept);
    return kept.result;
  };
}

/** Equal for equal tables, whatever the process or the time. */
export const versionOf = keptBy(({ domain, closed, names }: NameTable): string => {
  const hosts = Object.keys(names).sort();
  return hash("sha256", JSON.stringify([domain, closed, hosts.map((host) => [host, names[host]])]), "base64url").slice(0, VERSION_LENGTH);
});

function encoded(table: NameTable, more: Pick<NameTableChange, "whole" | "names" | "removed">): Uint8Array {
  const { domain, closed } = table;
  return toBinary(NameTableChangeSchema, create(NameTableChangeSchema, { version: versionOf(table), domain, closed, ...more }));
}

function nameOf(host: string, addresses: readonly string[] = []): Name {
  return create(NameSchema, { host, addresses: [...addresses] });
}

const whole = keptBy((table: NameTable) => {
  const names = Object.entries(table.names).map(([host, addresses]) => nameOf(host, addresses));
  return encoded(table, { whole: true, names, removed: [] });
});

/** By the older table, then by the newer: both are gone from here when nobody has them. */
const since = keptBy((before: NameTable) =>
  keptBy((table: NameTable) => {
    const changed = Object.entries(table.names).filter(([host, addresses]) => before.names[host]?.join() !== addresses.join());
    const removed = Object.keys(before.names).filter((host) => table.names[host] === undefined);
    return encoded(table, { whole: false, names: changed.map(([host, addresses]) => nameOf(host, addresses)), removed });
  }),
);

/** A serialized `NameTableChange` for who holds `before`, or an unknown table. */
export function changeTo(table: NameTable, before: NameTable | undefined): Uint8Array {
  return before === undefined ? whole(table) : since(before)(table);
}
