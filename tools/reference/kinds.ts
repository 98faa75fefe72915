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

function oneDocument(text: string, file: string): RawNode {
  const { documents, diagnostic } = parseYamlDocuments(text, file);
  const [document, ...others] = documents;
  if (document !== undefined && others.length === 0) return document;
  throw new Error(diagnostic === undefined ? `${file} has not exactly one document` : formatDiagnostic(diagnostic));
}

/** The words that a diagnostic offers for a value that is certainly none. */
function offered(text: string): readonly string[] {
  const { diagnostics } = decodeObject(oneDocument(text, "?"));
  return diagnostics.flatMap(({ help = "" }) => [...help.matchAll(/`([^`]+)`/g)].map(([, word = ""]) => word));
}

type Shown = Pick<ObservedFields, "refused" | "accepted" | "unused">;

/** The objects of `objects/KIND.yaml`, which must be valid, and together have every field there is: some exclude each other. */
function wholeObject(kind: string): { readonly text: string; readonly fields: Shown } {
  const file = join(OBJECTS, `${kind}.yaml`);
  const text = readFileSync(file, "utf8");
  const objects = parseYamlDocuments(text, file).documents.map(observeFields);
  const problems = objects.flatMap(({ decoded }) => decoded.diagnostics.map(formatDiagnostic));
  if (problems.length > 0) throw new Error(`an object that the reference shows is not right:\n${problems.join("\n")}`);
  const present = new Set(objects.flatMap((object) => object.present));
  const missing = objects.flatMap((object) => object.missing).filter((path) => !present.has(path));
  if (missing.length > 0) throw new Error(`${file} must show every field that is read, and lacks ${missing.join(", ")}`);
  const refused = new Map(objects.flatMap((object) => [...object.refused]));
  const [accepted, unused] = [new Set(objects.flatMap((object) => object.accepted)), new Set(objects.flatMap((object) => object.unused))];
  return { text, fields: { refused, accepted: [...accepted], unused: [...unused] } };
}

function section(kind: string): string {
  const { text, fields } = wholeObject(kind);
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
