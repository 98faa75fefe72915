/** Answers the agent's question whether the proxy serves, on a Unix socket. */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { AppError } from "../core/error.ts";
import { createServer } from "./node-http.ts";

export interface ReadyServer {
  close(): Promise<void>;
}

/** Serves `GET /ready`: 200 while `isReady`, otherwise 503 with what is waited for. Throws `unavailable` when it cannot listen. */
export async function startReadyServer(socket: string, missing: () => string | undefined): Promise<ReadyServer> {
  const server = createServer((request, response) => {
    const waiting = missing();
    const status = request.url !== "/ready" ? 404 : waiting === undefined ? 200 : 503;
    response.writeHead(status, { "content-type": "text/plain", connection: "close" });
    response.end(`${waiting ?? "LIVE"}\n`);
  });
  try {
    // The agent runs one proxy at a time in its own folder: what lies there was left by one that was killed.
    rmSync(socket, { force: true });
    server.listen(socket);
    await once(server, "listening");
  } catch (thrown) {
    throw new AppError("unavailable", `cannot listen on \`${socket}\``, { where: socket, cause: thrown });
  }
  return {
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
