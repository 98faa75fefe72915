/**
 * The corpus: files of several YAML documents, objects as users write them and one document with `tests`. A case
 * is data; every engine must give the same answer to it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { decodeTests, type TestCase } from "../../src/analyze/test-case.ts";
import { type CompiledMesh, compileMesh } from "../../src/compile/compile.ts";
import { formatDiagnostic } from "../../src/core/diagnostic.ts";
import { buildSnapshot } from "../../src/mesh/snapshot.ts";
import { decodeObject } from "../../src/policy/decode/decode.ts";
import { childOf } from "../../src/policy/decode/raw-node.ts";
import { Report } from "../../src/policy/decode/report.ts";
import { parseYamlDocuments } from "../../src/sources/yaml-documents.ts";
import { SETTINGS } from "../fixture/objects.ts";

const FOLDER = fileURLToPath(new URL("./cases/", import.meta.url));

export interface CorpusFile {
  /** Relative to the corpus. */
  readonly name: string;
  readonly mesh: CompiledMesh;
  readonly tests: readonly TestCase[];
}

function load(path: string): CorpusFile {
  const name = relative(FOLDER, path);
  const parsed = parseYamlDocuments(readFileSync(path, "utf8"), name);
  const problems = parsed.diagnostic === undefined ? [] : [formatDiagnostic(parsed.diagnostic)];
  const report = new Report();
  const tests = parsed.documents.filter((node) => childOf(node, "tests") !== undefined).flatMap((node) => decodeTests(node, report) ?? []);
  const decoded = parsed.documents.filter((node) => childOf(node, "tests") === undefined).map((node) => decodeObject(node));
  // An invalid object is welcome in a case that is about it; anything else wrong with a case is a mistake.
  const objects = decoded.flatMap(({ object }) => (object === undefined ? [] : [object]));
  problems.push(...report.diagnostics.map(formatDiagnostic));
  if (problems.length > 0 || tests.length === 0) throw new Error(`the corpus file ${name} is wrong:\n${problems.join("\n")}`);
  return { name, mesh: compileMesh(buildSnapshot(SETTINGS, objects)), tests };
}

/** Every file of the corpus, sorted by name. */
export function loadCorpus(): readonly CorpusFile[] {
  const names = readdirSync(FOLDER, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".yaml"));
  return names.sort().map((name) => load(join(FOLDER, name)));
}
