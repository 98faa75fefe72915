/** Files that hold secrets: nobody else may read them, and a crash leaves each of them whole or absent. */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { AppError } from "../core/error.ts";

const OTHERS = 0o077;
/** A root bundle is the largest file read here. */
const MAX_BYTES = 256 * 1024;

function checkOwnership(path: string, stats: Stats, wanted: string): void {
  const user = process.getuid?.();
  if (user !== undefined && stats.uid !== user) {
    throw new AppError("unsafe-permissions", `\`${path}\` belongs to user ${stats.uid}, and this process is user ${user}`, {
      help: `run as its owner, or: chown ${user} ${path}`,
    });
  }
  if ((stats.mode & OTHERS) !== 0) {
    throw new AppError(
      "unsafe-permissions",
      `\`${path}\` can be used by others (mode ${(stats.mode & 0o7777).toString(8).padStart(4, "0")})`,
      {
        help: `chmod ${wanted} ${path}`,
      },
    );
  }
}

/** Makes the folder with mode 0700 where there is none. Throws `unsafe-permissions` for one that others may use or own, `invalid-configuration` when it cannot be made. */
export function ensurePrivateFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new AppError("invalid-configuration", `\`${path}\` cannot be made a folder`, {
      help: "name a folder that this user may make or owns",
      cause,
    });
  }
  const stats = lstatSync(path);
  if (!stats.isDirectory())
    throw new AppError("unsafe-permissions", `\`${path}\` is not a folder of its own but a link`, { help: "name the folder itself" });
  checkOwnership(path, stats, "0700");
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

/** The text of a file of mode 0600, not through a link; undefined when there is none. Throws `unsafe-permissions` and `invalid-configuration`. */
export function readPrivateFile(path: string, maxBytes: number = MAX_BYTES): string | undefined {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw new AppError("invalid-configuration", `\`${path}\` cannot be read`, { cause });
  }
  try {
    const stats = fstatSync(file);
    if (!stats.isFile() || stats.size > maxBytes)
      throw new AppError("invalid-configuration", `\`${path}\` is not a file of at most ${maxBytes} bytes`);
    checkOwnership(path, stats, "0600");
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, constants.O_RDONLY);
  fsyncSync(folder);
  closeSync(folder);
}

function writeNewFile(path: string, text: string): void {
  const file = openSync(path, "wx", 0o600);
  try {
    // All of it: on a disk that is about to be full `write` takes a part, and says so by its count alone.
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Puts a file of mode 0600 in place, whole or not at all. Throws `already-exists` rather than replace one. */
export function writePrivateFile(path: string, text: string): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  writeNewFile(temporary, text);
  try {
    linkSync(temporary, path);
  } catch (cause) {
    throw new AppError("already-exists", `\`${path}\` cannot be put in place`, { cause });
  } finally {
    rmSync(temporary);
  }
  syncFolder(dirname(path));
}

/** Puts a file of mode 0600 in the place of the one that may be there: a reader sees the one or the other. */
export function replacePrivateFile(path: string, text: string): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  writeNewFile(temporary, text);
  renameSync(temporary, path);
  syncFolder(dirname(path));
}

/** Puts a folder of mode 0700 with these files in place, all of them or nothing. An empty folder is replaced; throws `already-exists` for any other. */
export function writePrivateFolder(path: string, files: Readonly<Record<string, string>>): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true, recursive: true });
  mkdirSync(temporary, { mode: 0o700 });
  for (const [name, text] of Object.entries(files)) writeNewFile(join(temporary, name), text);
  syncFolder(temporary);
  try {
    renameSync(temporary, path);
  } catch (cause) {
    rmSync(temporary, { recursive: true });
    throw new AppError("already-exists", `\`${path}\` cannot be put in place`, { cause });
  }
  syncFolder(dirname(path));
}
