/** A YAML or JSON file that a command line names, and what is wrong with it. */
import { readFileSync, statSync } from "node:fs";
import { type Diagnostic, formatDiagnostic } from "../../core/diagnostic.ts";
import { AppError } from "../../core/error.ts";
import type { RawNode } from "../../policy/decode/raw-node.ts";
import type { Cursor } from "../../policy/decode/reader.ts";
import { Report } from "../../policy/decode/report.ts";
import { LIMITS } from "../../sources/limits.ts";
import { parseYamlDocuments } from "../../sources/yaml-documents.ts";

/** The text of a file; `what` it should hold, for messages. Throws `not-found`, `invalid-configuration`. */
export function readText(file: string, what: string): string {
  const stats = statSync(file, { throwIfNoEntry: false });
  if (stats?.isFile() !== true)
    throw new AppError("not-found", "there is no such file", { where: file, help: `name the file with ${what}` });
  if (stats.size > LIMITS.file)
    throw new AppError("invalid-configuration", `the file has more than ${LIMITS.file / 1024 / 1024} MiB`, { where: file });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(file));
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw new AppError("not-found", "the file cannot be read", { where: file, cause });
    throw new AppError("invalid-configuration", "the file is not UTF-8", { where: file, cause });
  }
}

/** Tells each mistake with its place, and ends the command. */
function refuse(file: string, what: string, diagnostics: readonly Diagnostic[]): AppError {
  for (const diagnostic of diagnostics) process.stderr.write(`${formatDiagnostic(diagnostic)}\n`);
  const count = diagnostics.length === 1 ? "a mistake" : `${diagnostics.length} mistakes`;
  return new AppError("invalid-configuration", `the file with ${what} has ${count}`, { where: file });
}

/** Decodes each document of a file; `what` it holds, for messages. Throws `not-found` and `invalid-configuration`, after telling each mistake on stderr. */
export function decodeFile<T>(file: string, what: string, decode: (node: RawNode, report: Report) => T | undefined): readonly T[] {
  const { documents, diagnostic } = parseYamlDocuments(readText(file, what), file);
  if (diagnostic !== undefined) throw refuse(file, what, [diagnostic]);
  if (documents.length === 0) throw new AppError("invalid-configuration", `the file is empty: it must hold ${what}`, { where: file });
  const report = new Report();
  const decoded = documents.flatMap((node) => decode(node, report) ?? []);
  if (report.errors > 0) throw refuse(file, what, report.diagnostics);
  return decoded as readonly T[];
}

/** A decoder's cursor at the top of a document. */
export function topOf(node: RawNode, report: Report): Cursor {
  return { node, path: "", report };
}
