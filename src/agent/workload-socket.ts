/** Where the Workload API is served, and who may open it: the agent's user, a group as well, or whoever reaches it. */
import { chmodSync, chownSync, lstatSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { AppError } from "../core/error.ts";
import { checkSocketPath } from "./run-folder.ts";

/** The number of a group whose members may ask besides the agent's user; or whoever can enter the socket's folder, which is then what guards it. */
export type SocketGroup = number | "everybody";

export interface SocketAccess {
  readonly path: string;
  readonly group: SocketGroup | undefined;
}

/** A name in /etc/group, a number, or `*`. Throws `not-found`. */
export function socketGroup(group: string): SocketGroup {
  if (group === "*") return "everybody";
  if (/^\d{1,9}$/.test(group)) return Number(group);
  const line = readFileSync("/etc/group", "utf8")
    .split("\n")
    .find((entry) => entry.startsWith(`${group}:`));
  const number = line?.split(":")[2] ?? "";
  if (/^\d{1,9}$/.test(number)) return Number(number);
  throw new AppError("not-found", `there is no group \`${group}\` in /etc/group`, { help: "name another one, or say its number" });
}

/** The path of `unix:///run/x.sock`, `unix:/run/x.sock` or `/run/x.sock` (SPIFFE Workload Endpoint §4). Throws `invalid-argument`. */
export function parseEndpointSocket(text: string): string {
  const path = text.startsWith("unix://") ? text.slice("unix://".length) : text.replace(/^unix:/, "");
  if (path !== "" && isAbsolute(path) && !/[\0?#]/.test(path)) return resolve(path);
  throw new AppError("invalid-argument", `\`${text.slice(0, 300)}\` is not a Unix socket`, {
    help: "write it as unix:///PATH with an absolute path; the Workload API is not served over TCP",
  });
}

/** `SPIFFE_ENDPOINT_SOCKET` for a client of the socket. */
export function formatEndpointSocket(path: string): string {
  return `unix://${path}`;
}

/** Where there is nothing in a folder that is there. */
function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { mode: 0o755 });
    // Whatever the umask: its users are to enter.
    chmodSync(folder, 0o755);
  } catch {
    // Told below, where it is not there.
  }
}

/** Makes the socket's folder in one that is there. Whoever may write to it may put a socket of his own there, and play the agent. Throws `unsafe-permissions`, `invalid-argument`, `not-found`. */
export function openSocketFolder(path: string): void {
  checkSocketPath(path);
  const folder = dirname(path);
  makeFolder(folder);
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  if (stat === undefined || !stat.isDirectory())
    throw new AppError("not-found", `the folder \`${folder}\` of the Workload API's socket is not there`, { help: "make it first" });
  const uid = process.geteuid?.();
  const owned = uid === undefined || stat.uid === uid || stat.uid === 0;
  const sticky = (stat.mode & 0o1000) !== 0;
  if (owned && ((stat.mode & 0o022) === 0 || sticky)) return;
  throw new AppError("unsafe-permissions", `others may put a socket of theirs into \`${folder}\``, {
    help: `run \`chmod go-w ${folder}\`, or choose a folder of your own`,
  });
}

/** After listening: 0600, 0660 with the group, or 0666. */
export function admitToSocket({ path, group }: SocketAccess): void {
  try {
    if (typeof group === "number") chownSync(path, -1, group);
    chmodSync(path, group === undefined ? 0o600 : group === "everybody" ? 0o666 : 0o660);
  } catch (cause) {
    throw new AppError("permission-denied", `the socket \`${path}\` cannot be given to its users`, {
      cause,
      help: "choose a folder and a group of this user",
    });
  }
}
