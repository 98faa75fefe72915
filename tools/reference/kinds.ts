/** `docs/reference/kinds.md`: a whole object of each kind, and what of Istio's and Kubernetes' fields is refused or means nothing. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { formatDiagnostic } from "../../src/core/diagnostic.ts";
import { decodeObject } from "../../src/policy/decode/decode.ts";
import type { RawNode } from "../../src/policy/decode/raw-node.ts";
import { parseYamlDocuments } from "../../src/sources/yaml-documents.ts";
import { table } from "./markdown.ts";
import { type ObservedFields, observeFields } from "./observed-fields.ts";

const OBJECTS = join(import.meta.dirname, "objects");

const HEADER = `# Kinds

Each kind of object, with every field that is read; whatever else it holds is an error with its place. Some fields that API servers write are taken and mean nothing
here: they are listed, as are those of Istio and Kubernetes that are refused, each with what to do instead. A value that is not allowed says which are:
\`garrison check FOLDER\`.
`;

function documentsOf(text: string, file: string): readonly RawNode[] {
  const { documents, diagnostic } = parseYamlDocuments(text, file);
  if (diagnostic !== undefined || documents.length === 0)
    throw new Error(diagnostic === undefined ? `${file} has no document` : formatDiagnostic(diagnostic));
  return documents;
}

/** The words that a diagnostic offers for a value that is certainly none. */
function offered(text: string): readonly string[] {
  return documentsOf(text, "?")
    .flatMap(decodeObject)
    .flatMap(({ diagnostics }) => diagnostics)
    .flatMap(({ help = "" }) => [...help.matchAll(/`([^`]+)`/g)].map(([, word = ""]) => word));
}

/** A field within its record: a record that stands in several places is shown whole in one of them. */
function ending(path: string): string {
  return path.split(".").slice(-2).join(".");
}

type Shown = Pick<ObservedFields, "refused" | "accepted" | "unused" | "setAside">;

/** The objects of `objects/KIND.yaml`, which must be valid, and together have every field there is: some exclude each other. */
function wholeObject(kind: string): { readonly text: string; readonly fields: Shown } {
  const file = join(OBJECTS, `${kind}.yaml`);
  const text = readFileSync(file, "utf8");
  const objects = documentsOf(text, file).map(observeFields);
  const problems = objects.flatMap(({ decoded }) => decoded.diagnostics.map(formatDiagnostic));
  if (problems.length > 0) throw new Error(`an object that the reference shows is not right:\n${problems.join("\n")}`);
  const shown = new Set(objects.flatMap((object) => object.present).map(ending));
  const missing = objects.flatMap((object) => object.missing).filter((path) => !shown.has(ending(path)));
  if (missing.length > 0) throw new Error(`${file} must show every field that is read, and lacks ${missing.join(", ")}`);
  const refused = new Map(objects.flatMap((object) => [...object.refused]));
  const [accepted, unused] = [new Set(objects.flatMap((object) => object.accepted)), new Set(objects.flatMap((object) => object.unused))];
  const setAside = new Map(objects.flatMap((object) => [...object.setAside]));
  return { text, fields: { refused, accepted: [...accepted], unused: [...unused], setAside } };
}

function section(kind: string): string {
  const { text, fields } = wholeObject(kind);
  const setAside = [...fields.setAside].map(([path, help]) => [`\`${path}\``, help]);
  const refused = [...fields.refused].map(([path, help]) => [`\`${path}\``, help]);
  const ignored = fields.accepted.map((path) => `\`${path}\``).join(", ");
  const unused = fields.unused.map((path) => `\`${path}\``).join(", ");
  return [
    `## ${kind}`,
    `\`apiVersion\`: ${offered(`kind: ${kind}\napiVersion: "?"`)
      .map((version) => `\`${version}\``)
      .join(", ")}`,
    `\`\`\`yaml\n${text.trimEnd()}\n\`\`\``,
    ...(refused.length === 0 ? [] : [`Refused:\n\n${table(["field", "instead"], refused)}`]),
    ...(setAside.length === 0 ? [] : [`Taken with a warning (GAR0013), and not in force:\n\n${table(["field", "why"], setAside)}`]),
    `Taken, without meaning here: ${ignored}.`,
    ...(fields.unused.length === 0 ? [] : [`Told with a warning (GAR0014), without effect: ${unused}.`]),
  ].join("\n\n");
}

/** The page. Throws where an object that it shows is invalid or lacks a field. */
export function kindsPage(): string {
  const kinds = offered('kind: "?"');
  if (kinds.length === 0) throw new Error("no diagnostic tells the kinds");
  return `${[HEADER.trimEnd(), ...kinds.map(section)].join("\n\n")}\n`;
}
