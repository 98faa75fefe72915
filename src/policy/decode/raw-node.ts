/** What a configuration looks like before it is decoded: a plain tree with a place for each key and value, from YAML or JSON alike. */
import type { Place } from "../../core/diagnostic.ts";

export interface RawScalar {
  readonly kind: "scalar";
  readonly value: string | number | boolean | null;
  readonly place: Place;
  /** What the text says as YAML; only of a string under a key that holds YAML (`EMBEDDED_YAML_KEYS`). */
  readonly embedded?: RawNode;
}

export interface RawList {
  readonly kind: "list";
  readonly items: readonly RawNode[];
  readonly place: Place;
}

export interface RawEntry {
  readonly key: string;
  /** Of the key. */
  readonly place: Place;
  readonly value: RawNode;
}

export interface RawMap {
  readonly kind: "map";
  /** Keys are unique: whoever builds the tree refuses a key that comes twice. */
  readonly entries: readonly RawEntry[];
  readonly place: Place;
}

/** A value that has no one meaning, such as YAML's `on`. No decoder takes it, so the object that reads it is refused. */
export interface RawUnusable {
  readonly kind: "unusable";
  readonly reason: string;
  readonly help: string;
  readonly place: Place;
}

export type RawNode = RawScalar | RawList | RawMap | RawUnusable;

/** The value of a key of a map; undefined where there is none, or the node is no map. */
export function childOf(node: RawNode | undefined, key: string): RawNode | undefined {
  return node?.kind === "map" ? node.entries.find((entry) => entry.key === key)?.value : undefined;
}

/** The text of a string scalar; undefined for anything else. */
export function textOf(node: RawNode | undefined): string | undefined {
  return node?.kind === "scalar" && typeof node.value === "string" ? node.value : undefined;
}

/** A node's type, in words for a message. */
export function describeType(node: RawNode): string {
  if (node.kind === "list") return "a list";
  if (node.kind === "map") return "a map";
  if (node.kind === "unusable") return "unusable";
  return node.value === null ? "empty" : `a ${typeof node.value}`;
}
