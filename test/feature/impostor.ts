/** Somebody with a certificate that a mesh did not give them: as a client, and as a server. */
import { once } from "node:events";
import { createServer, request } from "node:https";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import type { Scope } from "./garrison.ts";

const TIMEOUT_MS = 10_000;

/** One request on a connection of its own to a proxy, whoever that is; its status, or 0 where there was no answer. */
export function callWith(port: number, { key, chain }: TlsMaterial, path: string): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const options = {
    host: "127.0.0.1",
    port,
    path,
    key,
    cert: chain,
    rejectUnauthorized: false,
    agent: false as const,
    timeout: TIMEOUT_MS,
  };
  const sent = request(options, (response) => {
    response.resume().once("error", () => resolve(0));
    response.once("end", () => resolve(response.statusCode ?? 0));
  });
  sent.once("timeout", () => sent.destroy());
  sent.once("error", () => resolve(0));
  sent.end();
  return promise;
}

/** A server that answers everything with 200, and has no identity until it is told which to pose as. Each call is a connection of its own. */
export async function startImpostor(scope: Scope, port: number): Promise<(material: TlsMaterial) => void> {
  const server = createServer({ requestCert: true, rejectUnauthorized: false }, (incoming, response) => {
    incoming.resume();
    response.setHeader("connection", "close").end("believed\n");
  });
  server.on("tlsClientError", () => undefined);
  scope.after(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return ({ key, chain }) => server.setSecureContext({ key, cert: chain });
}
