/** YAML text -> raw trees with places. Only what JSON could say as well: no tags, no keys that are not names, no key twice. */
import {
  type Alias,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseAllDocuments,
  type Scalar,
  type YAMLMap,
  type YAMLSeq,
} from "yaml";
import type { Diagnostic, DiagnosticCode, Place } from "../core/diagnostic.ts";
import { EMBEDDED_YAML_KEYS } from "../policy/decode/embedded-yaml.ts";
import type { RawEntry, RawNode } from "../policy/decode/raw-node.ts";
import { printable, quote } from "../policy/decode/report.ts";
import { type PlaceAt, placesWithin } from "./block-scalar.ts";
import { readingOfYaml11 } from "./plain-scalar.ts";

/** Nested lists and maps, one within the other. */
const MAX_DEPTH = 64;
/** Values of one file, each alias counted as all that it stands for. */
const MAX_NODES = 500_000;
const MAX_DOCUMENTS = 10_000;

const UNTOLD = { prettyErrors: false, uniqueKeys: false, logLevel: "silent", version: "1.2", schema: "core", merge: false } as const;

/** Ends the reading of a file; caught in this module. */
class Refusal extends Error {
  readonly diagnostic: Diagnostic;

  constructor(code: DiagnosticCode, place: Place, message: string, help?: string) {
    super(message);
    this.diagnostic = { code, message, place, ...(help === undefined ? {} : { help }) };
  }
}

interface Built {
  readonly node: RawNode;
  /** How many nodes it holds, itself included. */
  readonly size: number;
  /** How many levels there are below it. */
  readonly height: number;
}

/** What trees may still grow by. Those of YAML within the strings of a file count as well. */
interface Budget {
  nodes: number;
}

/** A text that is read as YAML. */
interface Source {
  readonly text: string;
  readonly placeAt: PlaceAt;
  readonly budget: Budget;
  /** A string of a file, and not the file itself: strings in it are strings. */
  readonly embedded: boolean;
}

/** Builds the raw trees of one file. Aliases share the tree of their anchor, and count in full. */
class TreeBuilder {
  readonly #source: Source;
  readonly #anchors = new Map<string, Built>();

  constructor(source: Source) {
    this.#source = source;
  }

  placeAt(offset: number): Place {
    return this.#source.placeAt(offset);
  }

  /** The tree of one document. Anchors hold within it. */
  document(contents: Node): RawNode {
    this.#anchors.clear();
    return this.#build(contents, 0, this.#placeOf(contents)).node;
  }

  #placeOf(node: Node): Place {
    return this.placeAt(node.range?.[0] ?? 0);
  }

  #count(size: number, place: Place): void {
    const { budget } = this.#source;
    budget.nodes += size;
    if (budget.nodes > MAX_NODES)
      throw new Refusal("GAR0009", place, `the file has more than ${MAX_NODES} values`, "split it, or use fewer aliases");
  }

  #build(node: Node | null, depth: number, parent: Place): Built {
    if (node === null) return this.#counted({ kind: "scalar", value: null, place: parent });
    if (isAlias(node)) return this.#alias(node, depth);
    const place = this.#placeOf(node);
    if (depth > MAX_DEPTH) throw tooDeep(place);
    const built = this.#content(node, depth, place);
    const { anchor } = node as Scalar | YAMLMap | YAMLSeq;
    if (anchor !== undefined) this.#anchors.set(anchor, built);
    return built;
  }

  #content(node: Node, depth: number, place: Place): Built {
    const { tag } = node as Scalar | YAMLMap | YAMLSeq;
    if (tag !== undefined) {
      return this.#counted({
        kind: "unusable",
        reason: `has a tag: ${quote(tag)}`,
        help: "remove the tag: tags have no meaning here",
        place,
      });
    }
    if (isMap(node)) return this.#map(node, depth, place);
    if (isSeq(node)) return this.#list(node, depth, place);
    return this.#counted(scalarNode(node as Scalar, place));
  }

  #counted(node: RawNode, children: readonly Built[] = []): Built {
    this.#count(1, node.place);
    const size = children.reduce((sum, child) => sum + child.size, 1);
    const height = children.reduce((most, child) => Math.max(most, child.height + 1), 0);
    return { node, size, height };
  }

  #alias(node: Alias, depth: number): Built {
    const place = this.#placeOf(node);
    const built = this.#anchors.get(node.source);
    if (built === undefined) throw new Refusal("GAR0001", place, `no anchor \`&${printable(node.source)}\` stands before this alias`);
    if (depth + built.height > MAX_DEPTH) throw tooDeep(place);
    this.#count(built.size, place);
    return built;
  }

  #list(node: YAMLSeq, depth: number, place: Place): Built {
    const built = node.items.map((item) => this.#build(item as Node | null, depth + 1, place));
    return this.#counted({ kind: "list", items: built.map((each) => each.node), place }, built);
  }

  #map(node: YAMLMap, depth: number, place: Place): Built {
    const seen = new Map<string, Place>();
    const built: Built[] = [];
    const entries = node.items.map((pair): RawEntry => {
      const { key, keyPlace } = this.#key(pair, place);
      const first = seen.get(key);
      if (first !== undefined)
        throw new Refusal("GAR0001", keyPlace, `the key ${quote(key)} comes twice`, `the first one is in line ${first.line}`);
      seen.set(key, keyPlace);
      const value = this.#build(pair.value as Node | null, depth + 1, keyPlace);
      built.push(value);
      return { key, place: keyPlace, value: this.#withEmbedded(key, value.node, pair.value) };
    });
    return this.#counted({ kind: "map", entries, place }, built);
  }

  /**
   * A string with the tree of the YAML that it holds; what is wrong with that concerns only who reads it. Each text is read
   * once: not those within it, and not where an alias stands for it.
   */
  #withEmbedded(key: string, node: RawNode, written: unknown): RawNode {
    const { text, placeAt, budget, embedded } = this.#source;
    if (embedded || !EMBEDDED_YAML_KEYS.has(key) || !isScalar(written)) return node;
    if (node.kind !== "scalar" || typeof node.value !== "string") return node;
    const inner = { text: node.value, placeAt: placesWithin(written as Scalar, text, placeAt), budget, embedded: true };
    return { ...node, embedded: embeddedTree(inner) };
  }

  /** A string, or a whole number, which JSON would have as a string too (`portLevelMtls`). */
  #key({ key }: Pair, parent: Place): { readonly key: string; readonly keyPlace: Place } {
    const keyPlace = key === null ? parent : this.#placeOf(key as Node);
    const raw = isScalar(key) && key.tag === undefined ? scalarNode(key, keyPlace) : undefined;
    const value = raw?.kind === "scalar" ? raw.value : undefined;
    if (typeof value === "string" || Number.isSafeInteger(value)) return { key: String(value), keyPlace };
    throw this.#notAString(key, keyPlace);
  }

  /** A bare `n` or `on` is a name to whoever writes it, and true or false to Kubernetes. */
  #notAString(key: unknown, place: Place): Refusal {
    const source = isScalar(key) && key.type === "PLAIN" && key.tag === undefined ? (key.source ?? "") : "";
    const meant = readingOfYaml11(source) ?? (typeof (isScalar(key) ? key.value : undefined) === "boolean" ? "true or false" : undefined);
    if (meant === undefined) return new Refusal("GAR0001", place, "a key is not a string", "write it in quotes");
    const help = `write it in quotes: \`"${source}"\``;
    return new Refusal("GAR0001", place, `the key ${quote(source)} is not a string: Kubernetes reads it as ${meant}`, help);
  }
}

function tooDeep(place: Place): Refusal {
  return new Refusal("GAR0009", place, `values are nested deeper than ${MAX_DEPTH} levels`);
}

function scalarNode(node: Scalar, place: Place): RawNode {
  const { value, type, source = "" } = node;
  const other = type === "PLAIN" ? readingOfYaml11(source) : undefined;
  if (other !== undefined) {
    const reason = `is ${quote(source)}, which Kubernetes reads as ${other} and YAML 1.2 does not`;
    return { kind: "unusable", reason, help: "put it in quotes, or write it another way", place };
  }
  if (value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean")
    return { kind: "scalar", value, place };
  return { kind: "unusable", reason: "is not a plain value", help: "put it in quotes", place };
}

/** The parser's words begin in upper case, and tell a stack overflow as an error of the text. */
function syntaxError(place: Place, message: string): Diagnostic {
  if (message.startsWith("Maximum call stack"))
    return { code: "GAR0009", message: `values are nested deeper than ${MAX_DEPTH} levels`, place };
  const words = printable(message.slice(0, 200));
  return { code: "GAR0001", message: `the file is not YAML: ${words.slice(0, 1).toLowerCase()}${words.slice(1)}`, place };
}

export interface YamlDocuments {
  /** Empty if there is a diagnostic. */
  readonly documents: readonly RawNode[];
  /** Why the file cannot be used. */
  readonly diagnostic?: Diagnostic;
}

function placesOf(file: string, lines: LineCounter): PlaceAt {
  return (offset) => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
}

/** The one document of a string; unusable where there is none that could be used. */
function embeddedTree(source: Source): RawNode {
  const { documents, diagnostic } = parse(source);
  const [document, another] = documents;
  if (diagnostic !== undefined) {
    const { message, place, help = "mend it" } = diagnostic;
    return { kind: "unusable", reason: `cannot be read: ${message.replace("the file", "the text")}`, help, place };
  }
  if (another !== undefined)
    return { kind: "unusable", reason: "holds several documents", help: "remove the line `---`", place: another.place };
  return document ?? { kind: "scalar", value: null, place: source.placeAt(0) };
}

function build(source: Source, lineCounter?: LineCounter): YamlDocuments {
  const parsed = parseAllDocuments(source.text, { ...UNTOLD, ...(lineCounter === undefined ? {} : { lineCounter }) });
  const builder = new TreeBuilder(source);
  const documents: RawNode[] = [];
  for (const { errors, contents, directives } of parsed) {
    const [error] = errors;
    if (error !== undefined) return { documents: [], diagnostic: syntaxError(builder.placeAt(error.pos[0]), error.message) };
    if (directives?.yaml.explicit)
      throw new Refusal("GAR0001", builder.placeAt(0), "directives are not supported", "remove the line `%YAML`");
    // A document without contents is what a separator at the end of a file leaves.
    if (contents === null || (isScalar(contents) && contents.value === null)) continue;
    if (documents.length === MAX_DOCUMENTS)
      throw new Refusal("GAR0009", builder.placeAt(contents.range?.[0] ?? 0), `the file has more than ${MAX_DOCUMENTS} documents`);
    documents.push(builder.document(contents));
  }
  return { documents };
}

function parse(source: Source, lineCounter?: LineCounter): YamlDocuments {
  try {
    return build(source, lineCounter);
  } catch (thrown) {
    if (thrown instanceof Refusal) return { documents: [], diagnostic: thrown.diagnostic };
    if (thrown instanceof RangeError)
      return { documents: [], diagnostic: syntaxError(source.placeAt(0), "Maximum call stack size exceeded") };
    throw thrown;
  }
}

/** The documents of a YAML file, in order. Never throws: a file is used whole or not at all. */
export function parseYamlDocuments(text: string, file: string): YamlDocuments {
  const lineCounter = new LineCounter();
  return parse({ text, placeAt: placesOf(file, lineCounter), budget: { nodes: 0 }, embedded: false }, lineCounter);
}

/** The one document of a string that an object holds, each node at `place`; unusable where there is none that could be used. Never throws. */
export function parseEmbeddedYaml(text: string, place: Place): RawNode {
  return embeddedTree({ text, placeAt: () => place, budget: { nodes: 0 }, embedded: true });
}
