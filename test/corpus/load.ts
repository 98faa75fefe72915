/**
 * The corpus: files of several YAML documents, objects as users write them and one document with `tests`. A case
 * is data; every engine must give the same answer to it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { decodeTests, type TestCase } from "../../src/analyze/test-case.ts";
import { compileMesh } from "../../src/compile/compile.ts";
import type { WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { formatDiagnostic, severityOf } from "../../src/core/diagnostic.ts";
import { buildSnapshot } from "../../src/mesh/snapshot.ts";
import { decodeObject } from "../../src/policy/decode/decode.ts";
import { childOf, type RawNode, textOf } from "../../src/policy/decode/raw-node.ts";
import { Report } from "../../src/policy/decode/report.ts";
import type { MeshObject } from "../../src/policy/model.ts";
import { parseYamlDocuments } from "../../src/sources/yaml-documents.ts";
import { SETTINGS } from "../fixture/objects.ts";

const FOLDER = fileURLToPath(new URL("./cases/", import.meta.url));

/** The workloads of a file that has none of its own. */
const SHOP = readFileSync(new URL("./shop.yaml", import.meta.url), "utf8");

/** Files of this name are about policies that are wrong; in all others that is a mistake of the case. */
const INVALID = /^invalid-/;

export interface CorpusFile {
  /** Relative to the corpus. */
  readonly name: string;
  /** By `NAMESPACE/NAME` of the workload. */
  readonly policies: ReadonlyMap<string, WorkloadPolicy>;
  readonly tests: readonly TestCase[];
}

interface Parsed {
  readonly tests: readonly RawNode[];
  readonly objects: readonly RawNode[];
}

function parse(text: string, name: string, problems: string[]): Parsed {
  const { documents, diagnostic } = parseYamlDocuments(text, name);
  if (diagnostic !== undefined) problems.push(formatDiagnostic(diagnostic));
  const isTests = (node: RawNode) => childOf(node, "tests") !== undefined;
  return { tests: documents.filter(isTests), objects: documents.filter((node) => !isTests(node)) };
}

/** The objects, and the closed forms of policies that are wrong where a file may have them. */
function decodeObjects(nodes: readonly RawNode[], name: string, problems: string[]): readonly MeshObject[] {
  const decoded = nodes.map(decodeObject);
  const mayBeWrong = decoded.filter(({ key = "" }) => INVALID.test(name) && /^(AuthorizationPolicy|PeerAuthentication) /.test(key));
  if (INVALID.test(name) && mayBeWrong.every(({ valid }) => valid)) problems.push("no policy is invalid, in a file about invalid ones");
  const diagnostics = decoded.filter((one) => !mayBeWrong.includes(one)).flatMap((one) => one.diagnostics);
  problems.push(...diagnostics.filter((diagnostic) => severityOf(diagnostic) === "error").map(formatDiagnostic));
  return decoded.flatMap(({ object }) => (object === undefined ? [] : [object]));
}

/** One file of the corpus. Throws with all that is wrong with it, so that no case holds for another reason than it says. */
export function readCases(text: string, name: string): CorpusFile {
  const problems: string[] = [];
  const parsed = parse(text, name, problems);
  const report = new Report();
  const tests = parsed.tests.flatMap((node) => decodeTests(node, report) ?? []);
  const isOwn = parsed.objects.some((node) => textOf(childOf(node, "kind")) === "WorkloadEntry");
  const nodes = isOwn ? parsed.objects : [...parse(SHOP, "shop.yaml", problems).objects, ...parsed.objects];
  const { policies } = compileMesh(buildSnapshot(SETTINGS, decodeObjects(nodes, name, problems)));
  problems.push(...report.diagnostics.map(formatDiagnostic), ...badTests(tests));
  problems.push(...tests.filter(({ workload }) => !policies.has(workload)).map(({ workload }) => `there is no workload ${workload}`));
  if (problems.length > 0 || tests.length === 0) throw new Error(`the corpus file ${name} is wrong:\n${problems.join("\n")}`);
  return { name, policies, tests };
}

/** A case asserts the reason as well, and is found by its name. */
function badTests(tests: readonly TestCase[]): readonly string[] {
  const unreasoned = tests.filter(({ expect, by }) => by === undefined && (expect === "allow" || expect === "deny" || expect === 200));
  const reasoned = tests.filter(({ expect, by }) => by !== undefined && !["allow", "deny", 200, 403].includes(expect));
  const names = tests.map(({ name }) => name);
  const twice = names.filter((name, index) => names.indexOf(name) !== index);
  return [
    ...reasoned.map(({ name }) => `\`${name}\`: a request that is refused has no \`by\``),
    ...unreasoned.map(({ name }) => `\`${name}\`: \`by\` must name the origin, unless the request is refused`),
    ...twice.map((name) => `\`${name}\` comes twice`),
  ];
}

/** Every file of the corpus, sorted by name. */
export function loadCorpus(): readonly CorpusFile[] {
  const names = readdirSync(FOLDER, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".yaml"));
  return names.sort().map((name) => readCases(readFileSync(join(FOLDER, name), "utf8"), relative(FOLDER, join(FOLDER, name))));
}
