/** The folder of one agent: its sockets and its proxy's bootstrap. Nobody but its user may enter, which is what guards the sockets. */
import { chmodSync, closeSync, fsyncSync, lstatSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { dirname, join, resolve } from "node:path";
import { AppError } from "../core/error.ts";

/** `sun_path` with its final NUL: 108 bytes on Linux, 104 on macOS and the BSDs (unix(7)). */
const SOCKET_PATH_LIMIT = process.platform === "linux" ? 107 : 103;
const PROBE_TIMEOUT_MS = 1_000;

/** Makes the folder (0700), or checks that an existing one belongs to this user and is closed to others. Returns its absolute path. Throws `unsafe-permissions`, `invalid-argument`. */
export function openRunFolder(folder: string): string {
  const path = resolve(folder);
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new AppError("invalid-argument", `the run folder \`${path}\` cannot be made`, { cause, help: "name another one" });
  }
  const stat = lstatSync(path);
  if (!stat.isDirectory())
    throw new AppError("invalid-argument", `the run folder \`${path}\` is not a folder`, { help: "name another one" });
  const uid = process.geteuid?.();
  if (uid !== undefined && stat.uid !== uid) {
    throw new AppError("unsafe-permissions", `the run folder \`${path}\` belongs to user ${stat.uid}, not to user ${uid}`, {
      help: "the private key is handed to the proxy through this folder: name one of your own",
    });
  }
  if ((stat.mode & 0o077) !== 0) {
    throw new AppError(
      "unsafe-permissions",
      `other users may enter the run folder \`${path}\` (mode 0${(stat.mode & 0o777).toString(8)})`,
      {
        help: `the private key is handed to the proxy through this folder: run \`chmod 700 ${path}\``,
      },
    );
  }
  return path;
}

/** Where a socket of that name lies. Throws `invalid-argument` where the system could not bind it. */
export function socketPath(folder: string, name: string): string {
  return checkSocketPath(join(folder, name));
}

/** Throws `invalid-argument` for a path that is too long for a socket. */
export function checkSocketPath(path: string): string {
  const length = Buffer.byteLength(path);
  if (length <= SOCKET_PATH_LIMIT) return path;
  throw new AppError("invalid-argument", `the socket path \`${path}\` has ${length} bytes, and the system allows ${SOCKET_PATH_LIMIT}`, {
    help: "choose a run folder with a shorter path",
  });
}

function isServed(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = createConnection(path);
    const finish = (served: boolean) => {
      socket.destroy();
      done(served);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => finish(true));
    socket.once("connect", () => finish(true));
    socket.once("error", () => finish(false));
  });
}

/** Makes way for a new socket: removes what a dead process left there. Throws `address-in-use` where a living one serves it. */
export async function claimSocket(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket())
    throw new AppError("address-in-use", `\`${path}\` exists and is not a socket`, { help: "remove it, or choose another run folder" });
  if (await isServed(path)) {
    throw new AppError("address-in-use", `another process serves \`${path}\``, {
      help: "stop the other agent, or choose another run folder",
    });
  }
  rmSync(path, { force: true });
}

/** Why nobody can be served at this path, and what to do. */
export function cannotListen(path: string, cause: Error): AppError {
  const [, reason = "the system refuses it"] = /\b(E[A-Z]{3,})\b/.exec(cause.message) ?? [];
  return new AppError("unavailable", `cannot listen at \`${path}\`: ${reason}`, {
    help: `may this user make a socket in \`${dirname(path)}\`?`,
    cause,
  });
}

/** After listening: the socket for this user alone. */
export function closeToOthers(path: string): void {
  chmodSync(path, 0o600);
}

/** Writes a file (0600) so that a reader sees the old one or the whole new one. */
export function writePrivateFile(path: string, text: string): void {
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  const file = openSync(draft, "wx", 0o600);
  try {
    // All of it: on a disk that is about to be full `write` takes a part, and says so by its count alone.
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(draft, path);
}
