/** Files of the operator's that say whose word counts: issuers, other trust domains, another CA. */
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { formatDiagnostic } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import type { RawNode } from "../policy/decode/raw-node.ts";
import { parseYamlDocuments } from "../sources/yaml-documents.ts";

export interface OperatorFile {
  readonly file: string;
  /** In messages: `the file of issuers`. */
  readonly what: string;
  /** The option that names it. */
  readonly option: string;
  /** The field that it begins with. */
  readonly begin: string;
}

const MAX_BYTES = 4 * 1024 * 1024;
const OTHERS_WRITE = 0o022;

/** Asked of the file that is read, whatever the path leads to later. */
function readText({ file, what, option }: OperatorFile): string {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, "r");
    const stats = fstatSync(descriptor);
    if (!stats.isFile() || stats.size > MAX_BYTES)
      throw new AppError("invalid-configuration", `${what} is not a file of at most ${MAX_BYTES} bytes`, { where: file });
    if ((stats.mode & OTHERS_WRITE) !== 0)
      throw new AppError("unsafe-permissions", `${what} can be written by others than its owner, who could be anybody in the mesh`, {
        where: file,
        help: `take that away: chmod go-w ${file}`,
      });
    return readFileSync(descriptor, "utf8");
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError("not-found", `${what} cannot be read`, { where: file, help: `name a file with ${option} FILE`, cause });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** Its one YAML document. Throws `not-found`, `unsafe-permissions` or `invalid-configuration`. */
export function readOperatorFile(given: OperatorFile): RawNode {
  const { file, what, begin } = given;
  const { documents, diagnostic } = parseYamlDocuments(readText(given), file);
  const [node, ...others] = documents;
  if (diagnostic === undefined && node !== undefined && others.length === 0) return node;
  const why = diagnostic === undefined ? "" : `\n${formatDiagnostic(diagnostic)}`;
  throw new AppError("invalid-configuration", `${what} is not one YAML document${why}`, {
    where: file,
    help: `begin it with \`${begin}:\``,
  });
}
