/**
 * A change of a value, written into the YAML that it was read from: what did not change keeps its text, its comments and its style. YAML 1.1,
 * as kubectl and Helm read it, takes `0400`, `yes` and `1_000` for numbers and booleans, YAML 1.2 for others; text that stays as it is means
 * to each reader what it meant before.
 */
import { isDeepStrictEqual } from "node:util";
import { type Document, isMap, isNode, isScalar, isSeq, type Node, Pair, Scalar, visit, YAMLMap, YAMLSeq } from "yaml";
import { AppError } from "../../core/error.ts";
import { isPlain, type Plain, textOf } from "./plain.ts";

/** How a document is to be parsed for `editDocument`: every scalar is the text that stands there. */
export const AS_WRITTEN = { schema: "failsafe", uniqueKeys: false } as const;

/** Of all that aliases stand for, written out. */
const MAX_NODES = 500_000;
const MAX_DEPTH = 200;

// === Aliases ===

function withoutAnchors<T extends Node>(node: T): T {
  visit(node, {
    Node: (_key, each) => {
      if ("anchor" in each) delete each.anchor;
    },
  });
  return node;
}

/** Of its anchors none goes along: an alias means the last anchor of its name before it, which the copy's would be for those that follow. */
function copyOf(node: Node | undefined): Node {
  return node === undefined ? new Scalar(null) : withoutAnchors(node.clone() as Node);
}

/** Every alias becomes what it stands for, so that a change of one place is not one of another. Throws `resource-exhausted`. */
function writeOutAliases(document: Document): void {
  let nodes = 0;
  const count = (depth: number): void => {
    nodes += 1;
    if (nodes > MAX_NODES || depth > MAX_DEPTH)
      throw new AppError("resource-exhausted", "its aliases stand for too much", { help: "write it without them" });
  };
  visit(document, {
    Node: (_key, _node, path) => count(path.length),
    Alias: (_key, alias, path) => {
      count(path.length);
      return copyOf(alias.resolve(document));
    },
  });
  if (isNode(document.contents)) withoutAnchors(document.contents);
  visit(document, { Map: (_key, map) => writeOutMerges(map) });
}

function isMerge({ key }: Pair): boolean {
  return isScalar(key) && key.value === "<<" && key.type === "PLAIN";
}

/** `<<` becomes what it merges: a key of the map's own comes before it, and a map before those after it. */
function writeOutMerges(map: YAMLMap): void {
  const merges = map.items.filter(isMerge);
  if (merges.length === 0) return;
  map.items = map.items.filter((pair) => !isMerge(pair));
  for (const source of merges.flatMap(({ value }) => (isSeq(value) ? value.items : [value]))) {
    if (!isMap(source)) continue;
    writeOutMerges(source);
    for (const pair of source.items) if (!map.has(pair.key)) map.items.push(pair.clone() as Pair);
  }
}

// === New nodes ===

/** No reader of any version takes these for something else than text. */
const CLEAR = /^(?:--)?[A-Za-z./](?:[\w./=:-]*[\w./])?$/;
const UNCLEAR = /^(?:y|n|yes|no|on|off|true|false|null|\.nan|\.inf|[.\d_e]+)$/i;

function scalarOf(value: unknown): Scalar {
  if (typeof value !== "string") {
    const plain = new Scalar(String(value));
    plain.type = "PLAIN";
    return plain;
  }
  const scalar = new Scalar(value);
  scalar.type = CLEAR.test(value) && !UNCLEAR.test(value) ? "PLAIN" : "QUOTE_DOUBLE";
  return scalar;
}

function nodeOf(value: unknown): Node {
  if (Array.isArray(value)) {
    const list = new YAMLSeq();
    list.items = value.map(nodeOf);
    list.flow = value.length === 0;
    return list;
  }
  if (!isPlain(value)) return scalarOf(value);
  const map = new YAMLMap();
  map.items = Object.entries(value)
    .filter(([, entry]) => entry !== undefined)
    .map(([key, entry]) => new Pair(scalarOf(key), nodeOf(entry)));
  map.flow = map.items.length === 0;
  return map;
}

// === Changes ===

function keyOf({ key }: Pair): string {
  return String(isScalar(key) ? key.value : key);
}

function changeMap(map: YAMLMap, before: Plain, after: Plain): void {
  // Only what was there by this key: readers differ over what some keys are.
  const removed = Object.keys(before).filter((key) => after[key] === undefined);
  map.items = map.items.filter((pair) => !removed.includes(keyOf(pair)));
  for (const [key, value] of Object.entries(after)) {
    if (value === undefined || isDeepStrictEqual(value, before[key])) continue;
    const pair = map.items.find((each) => keyOf(each) === key);
    if (pair === undefined) map.items.push(new Pair(scalarOf(key), nodeOf(value)));
    else pair.value = changed(pair.value, before[key], value);
  }
}

/** Which element each was before: the same one, else one of the same name, as Kubernetes has it of containers and volumes; -1 for a new one. */
function placesOf(before: readonly unknown[], after: readonly unknown[]): readonly number[] {
  if (before.length === after.length) return before.map((_, index) => index);
  const taken = new Set<number>();
  const take = (isIt: (value: unknown) => boolean): number => {
    const at = before.findIndex((value, index) => !taken.has(index) && isIt(value));
    taken.add(at);
    return at;
  };
  const same = after.map((value) => take((each) => isDeepStrictEqual(each, value)));
  return after.map((value, index) => {
    const name = textOf(value, "name");
    const at = same[index] ?? -1;
    return at >= 0 || name === "" ? at : take((each) => textOf(each, "name") === name);
  });
}

function changeSeq(list: YAMLSeq, before: readonly unknown[], after: readonly unknown[]): void {
  const places = placesOf(before, after);
  list.items = after.map((value, index) => {
    const at = places[index] ?? -1;
    return at < 0 ? nodeOf(value) : changed(list.items[at], before[at], value);
  });
}

/** The node as it is to be: itself, with what changed in it, or another where it is something else now. */
function changed(node: unknown, before: unknown, after: unknown): unknown {
  if (isDeepStrictEqual(before, after)) return node;
  if (isMap(node) && isPlain(before) && isPlain(after)) changeMap(node, before, after);
  else if (isSeq(node) && Array.isArray(before) && Array.isArray(after)) changeSeq(node, before, after);
  else return nodeOf(after);
  return node;
}

/** Writes into a document, parsed `AS_WRITTEN`, what makes of the value `before` the value `after`. Throws `resource-exhausted`. */
export function editDocument(document: Document, before: Plain, after: Plain): void {
  writeOutAliases(document);
  document.contents = changed(document.contents, before, after) as typeof document.contents;
}
