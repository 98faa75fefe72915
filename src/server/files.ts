/** The state folder of a control plane, and how others on the machine find it. */
import { existsSync, lstatSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { AppError } from "../core/error.ts";

/** What a running control plane says of itself in `control-plane.json`. */
export interface ControlPlaneFile {
  readonly pid: number;
  readonly host: string;
  readonly port: number;
  /** The SPIFFE ID that its certificate carries. */
  readonly identity: string;
  readonly trustDomain: string;
  readonly rootCertificate: string;
  readonly adminSocket: string;
  /** The folder of its records, where that is not the state folder. */
  readonly records?: string;
}

const FILE = "control-plane.json";

/** Written whole or not at all. */
export function writeControlPlaneFile(folder: string, file: ControlPlaneFile): void {
  const path = join(folder, FILE);
  writeFileSync(`${path}.new`, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function isControlPlaneFile(value: unknown): value is ControlPlaneFile {
  if (typeof value !== "object" || value === null) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  const texts = ["host", "identity", "trustDomain", "rootCertificate", "adminSocket"].every((name) => typeof fields[name] === "string");
  return (
    texts && ["undefined", "string"].includes(typeof fields.records) && typeof fields.port === "number" && typeof fields.pid === "number"
  );
}

function parseFile(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Throws `permission-denied` for a folder that this user may not enter: what is in it would look as if it were not there. */
function checkMayEnter(folder: string): void {
  try {
    lstatSync(join(folder, FILE), { throwIfNoEntry: false });
  } catch (cause) {
    if (!(cause instanceof Error && "code" in cause && cause.code === "EACCES")) return;
    const owner = lstatSync(folder, { throwIfNoEntry: false })?.uid;
    throw new AppError("permission-denied", `this user (${process.geteuid?.()}) may not enter the state folder`, {
      where: folder,
      help: `ask as the user that runs the control plane${owner === undefined ? "" : ` (${owner})`}`,
      cause,
    });
  }
}

/** Where a state folder's control plane has its records, also while it does not run: the folder itself, unless it said otherwise. Throws `invalid-configuration` for a file that is damaged, `permission-denied`. */
export function recordsFolder(folder: string): string {
  checkMayEnter(resolve(folder));
  return existsSync(join(folder, FILE)) ? (readControlPlaneFile(folder).records ?? folder) : folder;
}

/** Finds the control plane of a state folder. Throws `unavailable` where there is none, `invalid-configuration` for a file that is damaged, `permission-denied`. */
export function readControlPlaneFile(folder: string): ControlPlaneFile {
  checkMayEnter(resolve(folder));
  const path = join(resolve(folder), FILE);
  const help = "start one with `garrison serve`, or name its state folder with --state";
  if (!existsSync(path))
    throw new AppError("unavailable", "no control plane has run with this state folder", { where: resolve(folder), help });
  const value = parseFile(readFileSync(path, "utf8"));
  if (!isControlPlaneFile(value))
    throw new AppError("invalid-configuration", "the file does not describe a control plane", { where: path, help });
  return value;
}
