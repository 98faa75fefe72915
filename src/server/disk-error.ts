/** A disk that is full, read-only or broken, told as what it is: neither a defect of Garrison nor a mistake of who asked. */
import { AppError } from "../core/error.ts";

const BY_SYSTEM: Readonly<Record<string, string>> = {
  ENOSPC: "there is no space left on it",
  EDQUOT: "the quota is used up",
  EROFS: "it is read-only",
  EACCES: "this user may not",
  EPERM: "this user may not",
  EIO: "the disk does not work",
};
/** SQLite's primary result codes. */
const BY_SQLITE: ReadonlyMap<number, string> = new Map([
  [8, "it is read-only"],
  [10, "the disk does not work"],
  [13, "there is no space left on it"],
]);
const HELP = "look at the disk of the state folder; nothing was changed";

function whyUnwritable(thrown: Error): string | undefined {
  if ("code" in thrown && typeof thrown.code === "string" && Object.hasOwn(BY_SYSTEM, thrown.code)) return BY_SYSTEM[thrown.code];
  if ("errcode" in thrown && typeof thrown.errcode === "number") return BY_SQLITE.get(thrown.errcode & 0xff);
  return undefined;
}

/** Any thrown value as an AppError: `unavailable` where the disk is what fails. */
export function errorOf(thrown: unknown): AppError {
  const why = thrown instanceof Error && !(thrown instanceof AppError) ? whyUnwritable(thrown) : undefined;
  if (why === undefined) return AppError.from(thrown);
  return new AppError("unavailable", `the state folder cannot be written: ${why}`, { help: HELP, cause: thrown });
}
