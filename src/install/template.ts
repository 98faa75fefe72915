/**
 * The part of Helm's template language that our chart is written in, and no more, so that `garrison install` and Helm make the same of the
 * same files: values by their path, `toJson` and `toPrettyJson`, `if`, `else` and `end`, `range` over a list (within it `.` is the item, and
 * `$` begins a path), comments, and `-` for the blanks beside an action.
 * Whatever else a template says is refused by its place. A test holds this against Helm itself.
 */
import { AppError } from "../core/error.ts";

/** A value as YAML and JSON have it. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;

export interface JsonObject {
  readonly [key: string]: Json;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

interface Value {
  readonly kind: "value";
  readonly path: string;
  readonly functions: readonly string[];
  readonly where: string;
}

type Leaf = { readonly kind: "text"; readonly text: string } | Value;

interface Opening {
  readonly kind: "if" | "range";
  readonly path: string;
  readonly where: string;
}

interface Closing {
  readonly kind: "else" | "end";
  readonly where: string;
}

type Part = Leaf | Opening | Closing;

/** With what stands within it. */
interface Block extends Opening {
  readonly body: readonly Node[];
  /** After its `else`. */
  readonly otherwise: readonly Node[];
}

type Node = Leaf | Block;

/** What paths begin at. */
interface Scope {
  /** `$`. */
  readonly root: JsonObject;
  /** `.`; all there is, outside every `range`. */
  readonly dot: Json;
}

const ACTION = /\{\{(-?)\s*([\s\S]*?)\s*(-?)\}\}/g;
const PATH = String.raw`\$?\.[A-Za-z]\w*(?:\.[A-Za-z]\w*)*`;
const VALUE = new RegExp(String.raw`^(${PATH}|\.)((?:\s*\|\s*[A-Za-z]+)*)$`);
const BLOCK = new RegExp(String.raw`^(if|range)\s+(${PATH})$`);

/** Go's JSON has its keys in order. */
function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([key, entry]): [string, Json] => [key, sorted(entry)]);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** So that JSON can stand in HTML, Go escapes what has a meaning there: none of it is anywhere but in strings. */
function escaped(json: string): string {
  return json.replaceAll(/[<>&\u2028\u2029]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const FUNCTIONS: Readonly<Record<string, (value: Json) => string>> = {
  toJson: (value) => escaped(JSON.stringify(sorted(value))),
  toPrettyJson: (value) => escaped(JSON.stringify(sorted(value), null, 2)),
};

function refused(where: string, what: string): AppError {
  const help = "a template of the chart has values, `toJson`, `toPrettyJson`, `if`, `else`, `range`, `end` and comments";
  return new AppError("invalid-configuration", what, { where, help });
}

function readAction(action: string, where: string): Part {
  if (action.startsWith("/*") && action.endsWith("*/")) return { kind: "text", text: "" };
  if (action === "else" || action === "end") return { kind: action, where };
  const [, block, of] = BLOCK.exec(action) ?? [];
  if (block !== undefined && of !== undefined) return { kind: block === "if" ? "if" : "range", path: of, where };
  const [, path, pipe = ""] = VALUE.exec(action) ?? [];
  if (path === undefined) throw refused(where, `\`${action}\` is not understood`);
  const functions = pipe
    .split("|")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const unknown = functions.find((name) => !Object.hasOwn(FUNCTIONS, name));
  if (unknown !== undefined) throw refused(where, `there is no function \`${unknown}\``);
  return { kind: "value", path, functions, where };
}

function split(text: string, name: string): readonly Part[] {
  const parts: Part[] = [];
  let [end, trimNext] = [0, false];
  const addText = (from: number, to: number, trimEnd: boolean): void => {
    const raw = text.slice(from, to);
    const begun = trimNext ? raw.trimStart() : raw;
    parts.push({ kind: "text", text: trimEnd ? begun.trimEnd() : begun });
  };
  for (const match of text.matchAll(ACTION)) {
    const [whole, before, action = "", after] = match;
    addText(end, match.index, before === "-");
    parts.push(readAction(action, `${name}:${text.slice(0, match.index).split("\n").length}`));
    end = match.index + whole.length;
    trimNext = after === "-";
  }
  addText(end, text.length, false);
  return parts;
}

function isOpening(part: Part): part is Opening {
  return part.kind === "if" || part.kind === "range";
}

function isClosing(part: Part): part is Closing {
  return part.kind === "else" || part.kind === "end";
}

/** The parts up to the `else` or `end` that closes what they stand in, which is left; `parts` loses what is read. */
function readNodes(parts: Part[]): readonly Node[] {
  const nodes: Node[] = [];
  for (let part = parts[0]; part !== undefined && !isClosing(part); part = parts[0]) {
    parts.shift();
    nodes.push(isOpening(part) ? readBlock(part, parts) : part);
  }
  return nodes;
}

function readBlock(opening: Opening, parts: Part[]): Block {
  const { kind, where } = opening;
  const body = readNodes(parts);
  const hasElse = kind === "if" && parts[0]?.kind === "else";
  if (hasElse) parts.shift();
  const otherwise = hasElse ? readNodes(parts) : [];
  const closing = parts.shift();
  if (closing?.kind === "else") throw refused(closing.where, "`else` without an `if`");
  if (closing === undefined) throw refused(where, `${kind === "if" ? "an" : "a"} \`${kind}\` has no \`end\``);
  return { ...opening, body, otherwise };
}

function readTemplate(text: string, name: string): readonly Node[] {
  const parts = [...split(text, name)];
  const nodes = readNodes(parts);
  const [stray] = parts;
  if (stray !== undefined && isClosing(stray)) throw refused(stray.where, `\`${stray.kind}\` without an \`if\``);
  return nodes;
}

function lookUp({ root, dot }: Scope, path: string, where: string): Json {
  const [, keys = ""] = path.split(/^\$?\./);
  let value: Json | undefined = path.startsWith("$") ? root : dot;
  for (const key of keys.split(".").filter(Boolean)) value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  if (value === undefined) throw refused(where, `there is no value \`${path}\``);
  return value;
}

/** As Go's templates take a value for a condition. */
function holds(value: Json): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

function insert({ path, functions, where }: Value, scope: Scope): string {
  const value = functions.reduce<Json>((piped, name) => FUNCTIONS[name]?.(piped) ?? null, lookUp(scope, path, where));
  if (typeof value === "string") return value;
  throw refused(where, `\`${path}\` is no text: it needs \`toJson\``);
}

function renderNode(node: Node, scope: Scope): string {
  if (node.kind === "text") return node.text;
  if (node.kind === "value") return insert(node, scope);
  const { path, where } = node;
  const value = lookUp(scope, path, where);
  if (node.kind === "if") return renderNodes(holds(value) ? node.body : node.otherwise, scope);
  if (!Array.isArray(value)) throw refused(where, `\`${path}\` is no list`);
  return value.map((dot: Json) => renderNodes(node.body, { ...scope, dot })).join("");
}

function renderNodes(nodes: readonly Node[], scope: Scope): string {
  return nodes.map((node) => renderNode(node, scope)).join("");
}

/** The text of a template with its values in place. Throws `invalid-configuration` for what is not of the language, with its line. */
export function renderTemplate(text: string, data: JsonObject, name: string): string {
  return renderNodes(readTemplate(text, name), { root: data, dot: data });
}
