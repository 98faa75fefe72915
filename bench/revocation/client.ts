/** The client whose certificate is revoked: one open connection to each server, asked again and again; a process of its own, so that nobody else's work delays what it sees. */
import { Agent, request } from "node:https";
import { setTimeout as pause } from "node:timers/promises";
import { now, type Order, type Refusal, type Report, type Server } from "./messages.ts";

/** Between an answer and the next question. */
const PAUSE_MS = 2;

class Connection {
  readonly #server: Server;
  readonly #order: Order;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(server: Server, order: Order) {
    [this.#server, this.#order] = [server, order];
  }

  /** Until it is served, which the first time takes the server's proxy a while. */
  async served(): Promise<void> {
    while ((await this.#ask()) !== 200) await pause(100);
  }

  async refused(): Promise<Refusal> {
    while ((await this.#ask()) === 200) await pause(PAUSE_MS);
    const at = now();
    this.#agent.destroy();
    return { workload: this.#server.workload, at };
  }

  /** The status; 0 where the connection ends, or there is none. */
  #ask(): Promise<number> {
    const { key, chain: cert } = this.#order;
    return new Promise((resolve) => {
      const options = { host: "127.0.0.1", port: this.#server.port, path: "/", key, cert, rejectUnauthorized: false, agent: this.#agent };
      const sent = request(options, (response) => void response.resume().once("end", () => resolve(response.statusCode ?? 0)));
      sent.once("error", () => resolve(0));
      sent.end();
    });
  }
}

const tell = (report: Report): void => void process.send?.(report);

process.on("message", async (order: Order) => {
  const connections = order.servers.map((server) => new Connection(server, order));
  await Promise.all(connections.map((connection) => connection.served()));
  tell({ kind: "served" });
  tell({ kind: "refused", refusals: await Promise.all(connections.map((connection) => connection.refused())) });
});
process.on("disconnect", () => process.exit());
