/** A file or folder that says nothing, and why. */
import type { DiagnosticCode } from "../core/diagnostic.ts";
import type { FileReading } from "./snapshot.ts";

const REASONS: ReadonlyMap<string, readonly [reason: string, help: string]> = new Map([
  ["EACCES", ["permission is denied", "let the control plane's user read it"]],
  ["EPERM", ["permission is denied", "let the control plane's user read it"]],
  ["ENOENT", ["it does not exist", "create it, or correct the path or the link that leads there"]],
  ["ELOOP", ["its links lead in a circle", "correct the link"]],
  ["ENOTDIR", ["it is not a folder", "name the folder that holds the YAML files"]],
]);

/** The code of a system error; rethrows anything else. */
export function systemErrorCode(thrown: unknown): string {
  if (thrown instanceof Error && "code" in thrown && typeof thrown.code === "string") return thrown.code;
  throw thrown;
}

/** A reading that withdraws nothing. */
export function unreadable(file: string, code: DiagnosticCode, message: string, help?: string): FileReading {
  const place = { file, line: 1, column: 1 };
  return { file, readable: false, documents: [], diagnostics: [{ code, message, place, ...(help === undefined ? {} : { help }) }] };
}

/** A file or folder that the system does not let us read. */
export function unreadableBecause(file: string, what: "file" | "folder", code: string): FileReading {
  const [reason, help] = REASONS.get(code) ?? [`the system says ${code}`, undefined];
  return unreadable(file, "GAR0010", `the ${what} cannot be read: ${reason}`, help);
}
