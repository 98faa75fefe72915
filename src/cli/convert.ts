import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { Document, isMap, isNode, isSeq, LineCounter, type Node, parseAllDocuments, stringify, visit } from "yaml";
import { type Conversion, convert } from "../convert/convert.ts";
import { withoutLists } from "../convert/lists.ts";
import type { ConvertedObject, Note } from "../convert/output.ts";
import { type Diagnostic, formatDiagnostic, formatPlace, type Place } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import { DEFAULT_CLUSTER_DOMAIN, DEFAULT_ROOT_NAMESPACE } from "../mesh/snapshot.ts";
import type { RawNode } from "../policy/decode/raw-node.ts";
import { listFolder } from "../sources/folder-listing.ts";
import { LIMITS } from "../sources/limits.ts";
import { parseYamlDocuments } from "../sources/yaml-documents.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { required } from "./options.ts";

interface InputFile {
  readonly path: string;
  readonly documents: readonly RawNode[];
  /** Each document as it is written, by where it begins. */
  readonly texts: ReadonlyMap<string, string>;
}

/** What one file becomes. */
interface OutputFile {
  readonly path: string;
  readonly text: string;
}

// === Reading ===

async function readText(path: string): Promise<string> {
  const { size } = await stat(path);
  if (size > LIMITS.file)
    throw new AppError("resource-exhausted", `the file has more than ${LIMITS.file / 1024 / 1024} MiB`, { where: path, help: "split it" });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path));
  } catch (cause) {
    throw new AppError("invalid-configuration", "the file is not UTF-8", { where: path, help: "save it as UTF-8", cause });
  }
}

type Beginning = Pick<Place, "line" | "column">;

function beginningOf({ line, column }: Beginning): string {
  return `${line}:${column}`;
}

/** An item of a list as a document of its own, with its comments; an alias is written out, as its anchor may stand in another item. */
function itemText(item: Node, list: Document): string {
  const own = new Document(hasAlias(item) ? item.toJS(list) : item, { version: "1.1", aliasDuplicateObjects: false });
  return own.toString({ lineWidth: 0 }).trimEnd();
}

function hasAlias(item: Node): boolean {
  let count = 0;
  visit(item, {
    Alias: () => {
      count++;
      return visit.BREAK;
    },
  });
  return count > 0;
}

/** The documents' own texts: comments, order and quotes are the user's. */
function textsOf(text: string): ReadonlyMap<string, string> {
  const lineCounter = new LineCounter();
  const ends = [0];
  const parsed = parseAllDocuments(text, {
    lineCounter,
    logLevel: "silent",
    prettyErrors: false,
    uniqueKeys: false,
  }) as readonly Document[];
  const beginningAt = (offset: number): string => {
    const { line, col: column } = lineCounter.linePos(offset);
    return beginningOf({ line, column });
  };
  const rows = parsed.flatMap((document): readonly (readonly [string, string])[] => {
    const { contents, range } = document;
    const start = ends.at(-1) ?? 0;
    const end = range?.[2] ?? start;
    ends.push(end);
    if (contents === null || contents.range == null) return [];
    const own = text.slice(start, end).replace(/^(?:\s*---[ \t]*\n)+/, "");
    const items = isMap(contents) ? contents.get("items") : undefined;
    const listed = (isSeq(items) ? items.items : [])
      .filter(isNode)
      .flatMap((item): readonly (readonly [string, string])[] =>
        item.range == null ? [] : [[beginningAt(item.range[0]), itemText(item, document)]],
      );
    return [[beginningAt(contents.range[0]), own.replace(/\n(?:---|\.\.\.)\s*$/, "\n").trimEnd()], ...listed];
  });
  return new Map(rows);
}

async function readInput(path: string, problems: Diagnostic[]): Promise<InputFile> {
  const text = await readText(path);
  const { documents, diagnostic } = parseYamlDocuments(text, path);
  if (diagnostic !== undefined) problems.push(diagnostic);
  return { path, documents: withoutLists(documents), texts: textsOf(text) };
}

async function inputPaths(operand: string, problems: Diagnostic[]): Promise<readonly string[]> {
  const stats = await stat(operand).catch(() => undefined);
  if (stats === undefined) throw new AppError("not-found", "there is no such file or folder", { where: operand, help: "name your YAML" });
  if (!stats.isDirectory()) return [operand];
  const listing = await listFolder(operand);
  problems.push(...listing.problems.flatMap(({ diagnostics }) => diagnostics));
  return listing.files;
}

// === Writing ===

function comments(notes: readonly Note[]): string {
  return [...new Set(notes.map(({ message }) => `# ${message}\n`))].join("");
}

/** YAML that Kubernetes (YAML 1.1) and everyone else (1.2) read alike. */
function formatObject({ object, notes }: ConvertedObject): string {
  return `${comments(notes)}${stringify(object, { version: "1.1", lineWidth: 0, aliasDuplicateObjects: false })}`.trimEnd();
}

function formatFile(file: InputFile, { objects, passed }: Conversion, onlyConverted: boolean): OutputFile {
  const stays = new Set(passed);
  const parts = file.documents.flatMap((node) => {
    if (stays.has(node)) return onlyConverted ? [] : [file.texts.get(beginningOf(node.place)) ?? ""];
    return objects.filter(({ source }) => source === node.place).map(formatObject);
  });
  return { path: file.path, text: parts.length === 0 ? "" : `${parts.join("\n---\n")}\n` };
}

async function writeFiles(files: readonly OutputFile[], operand: string, folder: string): Promise<void> {
  for (const { path, text } of files) {
    const target = join(folder, relative(operand, path) || basename(path));
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, text, { flag: "wx" }).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== "EEXIST") throw cause;
      throw new AppError("already-exists", "the file exists already", { where: target, help: "name a new folder with `--output`", cause });
    });
  }
}

function comparePlaces(left: Place, right: Place): number {
  if (left.file !== right.file) return left.file < right.file ? -1 : 1;
  return left.line - right.line || left.column - right.column;
}

/** What changed and what has no equal, by place. */
function tell({ objects, notes, diagnostics }: Conversion): void {
  const all = [...objects.flatMap((object) => object.notes), ...notes];
  const lines = [
    ...all.map(({ place, message }) => ({ place, text: `${formatPlace(place)}: note: ${message}\n` })),
    ...diagnostics.map((diagnostic) => ({ place: diagnostic.place, text: `${formatDiagnostic(diagnostic)}\n` })),
  ].sort((left, right) => comparePlaces(left.place, right.place));
  process.stderr.write([...new Set(lines.map(({ text }) => text))].join(""));
}

async function run(parsed: ParsedArguments): Promise<number> {
  const [operand = ""] = parsed.positionals;
  const problems: Diagnostic[] = [];
  const inputs: InputFile[] = [];
  for (const path of await inputPaths(operand, problems)) inputs.push(await readInput(path, problems));
  const settings = { rootNamespace: required(parsed, "root-namespace"), clusterDomain: required(parsed, "cluster-domain") };
  const converted = convert(
    inputs.flatMap(({ documents }) => documents),
    settings,
  );
  const conversion = { ...converted, diagnostics: [...problems, ...converted.diagnostics] };
  const files = inputs.map((file) => formatFile(file, conversion, parsed.flag("only-converted"))).filter(({ text }) => text !== "");
  tell(conversion);
  const folder = parsed.value("output");
  if (folder === undefined) process.stdout.write(files.map(({ text }) => text).join("---\n"));
  else await writeFiles(files, operand, folder);
  return conversion.diagnostics.length === 0 ? EXIT.ok : EXIT.no;
}

export const command: Command = {
  name: "convert",
  summary:
    "Turns Policy, MeshPolicy, ServiceRole, ServiceRoleBinding, RbacConfig and ClusterRbacConfig into PeerAuthentication,\n" +
    "RequestAuthentication and AuthorizationPolicy. Other objects stay as they are. Ends with 1 where something has no equal.",
  operands: "FILE|FOLDER",
  arity: [1, 1],
  options: {
    output: { type: "value", short: "o", value: "FOLDER", doc: "write files of the same names there, instead of printing" },
    "only-converted": { type: "flag", doc: "leave out what stays as it is" },
    "root-namespace": { type: "value", value: "NAME", doc: "its policies hold for the whole mesh", default: DEFAULT_ROOT_NAMESPACE },
    "cluster-domain": { type: "value", value: "NAME", doc: "the end of every service's host", default: DEFAULT_CLUSTER_DOMAIN },
  },
  examples: ["garrison convert old > new.yaml", "garrison convert old --output new --only-converted"],
  run,
};
