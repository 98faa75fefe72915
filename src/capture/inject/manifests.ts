/** YAML with any objects -> the same text, in which the pods have their agent and proxy. Whatever has none stays as it is, byte for byte. */
import { isDeepStrictEqual } from "node:util";
import { type CreateNodeOptions, type DocumentOptions, type ParseOptions, Parser, parseAllDocuments, type SchemaOptions } from "yaml";
import { AppError } from "../../core/error.ts";
import type { InjectOptions } from "./containers.ts";
import { AS_WRITTEN, editDocument } from "./edit-yaml.ts";
import { injectObject, makesPods } from "./inject.ts";
import { isPlain, listOf, type Plain, plainOf, textOf } from "./plain.ts";

/** As kubectl and Helm read it; a date is a text to them. */
const AS_KUBECTL: ParseOptions & DocumentOptions & SchemaOptions & CreateNodeOptions = {
  version: "1.1",
  customTags: (tags) => tags.filter((tag) => tag !== "timestamp"),
};
const MAX_ALIASES = 100;

/** What a person should know of one object. */
export type Tell = (object: string, what: string) => void;

function nameOf(kind: string, object: Plain): string {
  const metadata = plainOf(object, "metadata");
  const namespace = textOf(metadata, "namespace");
  return `${kind} ${namespace === "" ? "" : `${namespace}/`}${textOf(metadata, "name") || textOf(metadata, "generateName")}`;
}

/** The kind of a list's items, where they do not say it themselves; undefined for what is no list of ours to look into. */
function kindOfItems(kind: string): string | undefined {
  if (kind === "List") return "";
  const item = kind.endsWith("List") ? kind.slice(0, -"List".length) : "";
  return makesPods(item) ? item : undefined;
}

function injected(object: Plain, options: InjectOptions, tell: Tell, kind = textOf(object, "kind")): Plain {
  const itemKind = kindOfItems(kind);
  if (itemKind !== undefined) {
    const inner = (item: Plain): Plain => injected(item, options, tell, textOf(item, "kind") || itemKind);
    return { ...object, items: listOf(object, "items").map((item) => (isPlain(item) ? inner(item) : item)) };
  }
  const name = nameOf(kind, object);
  try {
    const { object: result, notes } = injectObject(object, options, kind);
    for (const note of notes) tell(name, note);
    return result;
  } catch (thrown) {
    const { code, message, help } = AppError.from(thrown);
    throw new AppError(code, `${name}: ${message}`, help === undefined ? {} : { help });
  }
}

/** The text of each document, with its directives: together they are the whole text. */
function documentsOf(text: string): readonly string[] {
  const starts: number[] = [];
  let begun = true;
  for (const token of new Parser().parse(text)) {
    if (begun && (token.type === "document" || token.type === "directive")) {
      starts.push(token.offset);
      begun = false;
    }
    if (token.type === "document") begun = true;
  }
  const [, ...later] = starts;
  return [0, ...later].map((start, index) => text.slice(start, later[index]));
}

/** What the document says to kubectl. Throws `resource-exhausted`. */
function saidBy(document: ReturnType<typeof parseAllDocuments>[number] | undefined): unknown {
  try {
    return document?.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    throw new AppError("resource-exhausted", "aliases of the file stand for too much", { help: "write it without them", cause });
  }
}

function injectDocument(text: string, options: InjectOptions, tell: Tell): string {
  const value = saidBy(parseAllDocuments(text, AS_KUBECTL)[0]);
  if (!isPlain(value)) return text;
  const after = injected(value, options, tell);
  if (isDeepStrictEqual(after, value)) return text;
  const [document] = parseAllDocuments(text, AS_WRITTEN);
  if (document === undefined) return text;
  editDocument(document, value, after);
  return document.toString({ lineWidth: 0 });
}

/** Throws `invalid-configuration` for what is no YAML, `resource-exhausted`, and as `injectPod` does, the object being named in the message. */
export function injectManifests(text: string, options: InjectOptions, tell: Tell): string {
  for (const { errors } of parseAllDocuments(text, AS_KUBECTL)) {
    const [error] = errors;
    if (error !== undefined) throw new AppError("invalid-configuration", `the file is not YAML: ${error.message}`);
  }
  return documentsOf(text)
    .map((document) => injectDocument(document, options, tell))
    .join("");
}
