/**
 * The part of Helm's template language that our chart is written in, and no more, so that `garrison install` and Helm make the same of the
 * same files: values by their path, `toJson` and `toPrettyJson`, `if`, `else` and `end`, comments, and `-` for the blanks beside an action.
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

type Part =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "value"; readonly path: string; readonly functions: readonly string[]; readonly where: string }
  | { readonly kind: "if"; readonly path: string; readonly where: string }
  | { readonly kind: "else" | "end"; readonly where: string };

const ACTION = /\{\{(-?)\s*([\s\S]*?)\s*(-?)\}\}/g;
const PATH = String.raw`\.[A-Za-z]\w*(?:\.[A-Za-z]\w*)*`;
const VALUE = new RegExp(String.raw`^(${PATH})((?:\s*\|\s*[A-Za-z]+)*)$`);
const IF = new RegExp(String.raw`^if\s+(${PATH})$`);

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
  const help = "a template of the chart has values, `toJson`, `toPrettyJson`, `if`, `else`, `end` and comments";
  return new AppError("invalid-configuration", what, { where, help });
}

function readAction(action: string, where: string): Part {
  if (action.startsWith("/*") && action.endsWith("*/")) return { kind: "text", text: "" };
  if (action === "else" || action === "end") return { kind: action, where };
  const [, condition] = IF.exec(action) ?? [];
  if (condition !== undefined) return { kind: "if", path: condition, where };
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

function lookUp(data: JsonObject, path: string, where: string): Json {
  let value: Json | undefined = data;
  for (const key of path.slice(1).split(".")) value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  if (value === undefined) throw refused(where, `there is no value \`${path}\``);
  return value;
}

/** As Go's templates take a value for a condition. */
function holds(value: Json): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

function insert(part: Extract<Part, { kind: "value" }>, data: JsonObject): string {
  const value = part.functions.reduce<Json>((piped, name) => FUNCTIONS[name]?.(piped) ?? null, lookUp(data, part.path, part.where));
  if (typeof value === "string") return value;
  throw refused(part.where, `\`${part.path}\` is no text: it needs \`toJson\``);
}

/** The text of a template with its values in place. Throws `invalid-configuration` for what is not of the language, with its line. */
export function renderTemplate(text: string, data: JsonObject, name: string): string {
  let out = "";
  // Of each `if` that is open: whether what stands there now is taken.
  const open: { taken: boolean; elsewhere: boolean }[] = [];
  for (const part of split(text, name)) {
    const innermost = open.at(-1);
    const live = open.every(({ taken }) => taken);
    if (part.kind === "text") out += live ? part.text : "";
    else if (part.kind === "value") out += live ? insert(part, data) : "";
    else if (part.kind === "if") open.push({ taken: live && holds(lookUp(data, part.path, part.where)), elsewhere: false });
    else if (innermost === undefined || (part.kind === "else" && innermost.elsewhere))
      throw refused(part.where, `\`${part.kind}\` without an \`if\``);
    else if (part.kind === "end") open.pop();
    else {
      const outer = open.slice(0, -1).every(({ taken }) => taken);
      Object.assign(innermost, { taken: outer && !innermost.taken, elsewhere: true });
    }
  }
  if (open.length > 0) throw refused(name, "an `if` has no `end`");
  return out;
}
