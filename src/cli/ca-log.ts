/** Where the log of a state folder is, for the commands that read it with nothing running. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type NoteVerifier, parseVerifier } from "../ca/log/note.ts";
import { VERIFIER_FILE } from "../ca/log/transparency-log.ts";
import { AppError } from "../core/error.ts";
import { recordsFolder } from "../server/files.ts";
import type { OptionSpec, ParsedArguments } from "./command.ts";
import { required } from "./options.ts";

export const KEY_OPTION = {
  type: "value",
  value: "VERIFIER",
  doc: "who signs the log, as text or in a file, kept where nobody can change it with the log; without it, as the state folder has it",
} as const satisfies OptionSpec;

const MAX_BYTES = 64 * 1024;

/** A small text file that a command line names. Throws `not-found`, `invalid-argument`. */
export function readTextFile(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) throw new AppError("not-found", "there is no such file", { where: path });
  if (!stats.isFile() || stats.size > MAX_BYTES)
    throw new AppError("invalid-argument", `it is not a file of at most ${MAX_BYTES} bytes`, { where: path });
  return readFileSync(path, "utf8");
}

/** Of the records of a state folder, or of such a folder itself. */
export function caFolder(parsed: ParsedArguments): string {
  return join(recordsFolder(required(parsed, "state")), "ca");
}

/** Throws `not-found` where there is no log, `invalid-argument` for a text that is no verifier. */
export function logVerifier(parsed: ParsedArguments): NoteVerifier {
  const given = parsed.value("key");
  if (given !== undefined) return parseVerifier(existsSync(given) ? readTextFile(given) : given);
  const path = join(caFolder(parsed), "log", VERIFIER_FILE);
  if (!existsSync(path))
    throw new AppError("not-found", "there is no log in this state folder", { where: path, help: "name the state folder with --state" });
  return parseVerifier(readTextFile(path));
}
