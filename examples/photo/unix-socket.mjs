// Listening on Unix sockets: for the owner alone, over what a killed process left behind.
import { lstatSync, unlinkSync } from "node:fs";
import process from "node:process";

/**
 * @param {import("node:net").Server} server
 * @param {string} path
 */
export function listenOnSocket(server, path) {
  // Only a socket is removed: another file there is somebody's, and listening fails.
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(path);
  const mask = process.umask(0o177);
  server.listen(path);
  process.umask(mask);
}
