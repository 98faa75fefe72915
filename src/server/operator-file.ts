/** Files of the operator's that say whose word counts: issuers, other trust domains, another CA. */
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { formatDiagnostic } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
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
const LOOK_MS = 2_000;

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
  return documentOf(given, readText(given));
}

function documentOf({ file, what, begin }: OperatorFile, text: string): RawNode {
  const { documents, diagnostic } = parseYamlDocuments(text, file);
  const [node, ...others] = documents;
  if (diagnostic === undefined && node !== undefined && others.length === 0) return node;
  const why = diagnostic === undefined ? "" : `\n${formatDiagnostic(diagnostic)}`;
  throw new AppError("invalid-configuration", `${what} is not one YAML document${why}`, {
    where: file,
    help: `begin it with \`${begin}:\``,
  });
}

/**
 * Has its document taken, and again whenever it has changed, until the answer is called. What cannot be read or taken later is told once, and changes nothing.
 * Throws as `readOperatorFile` and `take` do, the first time only.
 */
export function followOperatorFile(given: OperatorFile, take: (document: RawNode) => void, logger: Logger): () => void {
  let taken = readText(given);
  take(documentOf(given, taken));
  let problem = "";
  const timer = setInterval(() => {
    try {
      const text = readText(given);
      if (text !== taken) take(documentOf(given, text));
      [taken, problem] = [text, ""];
    } catch (thrown) {
      const { message } = AppError.from(thrown);
      if (message !== problem) logger.log("error", `${given.what} cannot be taken, its last form stays in force`, { reason: message });
      problem = message;
    }
  }, LOOK_MS).unref();
  return () => clearInterval(timer);
}
