/** A port of this machine, reached from a host of the test's network: over a Unix socket, which knows no network namespaces. */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import type { Scope } from "../feature/garrison.ts";
import type { Host } from "../network/hosts.ts";

/** Both ends of a connection, until one of them ends. */
const RELAY = `const { connect, createServer } = require("node:net");
createServer((near) => {
  const far = connect(process.argv[1]);
  near.pipe(far).pipe(near);
  for (const [one, other] of [[near, far], [far, near]]) one.on("error", () => other.destroy());
}).listen(Number(process.argv[2]), "127.0.0.1");`;

/** Whoever connects to `127.0.0.1:PORT` on one of the hosts reaches that port of this machine. */
export async function relay(scope: Scope, folder: string, port: number, hosts: readonly Host[]): Promise<void> {
  const path = join(folder, `relay-${port}.sock`);
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    near.pipe(far).pipe(near);
    near.on("error", () => far.destroy());
    far.on("error", () => near.destroy());
  });
  await once(server.listen(path), "listening");
  scope.after(() => {
    server.close();
    rmSync(path, { force: true });
  });
  for (const host of hosts) host.start([process.execPath, "-e", RELAY, path, String(port)]);
  await Promise.all(hosts.map((host) => host.listening(port)));
}
