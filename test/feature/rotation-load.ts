/** Calls that go on without a pause: requests on connections that are kept, and connections of TCP, each of which is a handshake between the proxies. */
import { Agent, request } from "node:http";
import { connect } from "node:net";

const TIMEOUT_MS = 10_000;

export interface LoadPorts {
  /** Of the client's proxy, for HTTP and for TCP. */
  readonly http: number;
  readonly tcp: number;
}

/** One request for /open; its failure in words. */
function askOpen(port: number, agent: Agent): Promise<string | undefined> {
  return new Promise((resolve) => {
    const sent = request({ host: "127.0.0.1", port, path: "/open", agent, timeout: TIMEOUT_MS }, (response) => {
      response.resume().once("end", () => resolve(response.statusCode === 200 ? undefined : `HTTP ${response.statusCode}`));
      response.once("error", (error) => resolve(`HTTP: ${error.message}`));
    });
    sent.once("timeout", () => sent.destroy(new Error("no answer in time")));
    sent.once("error", (error) => resolve(`HTTP: ${error.message}`));
    sent.end();
  });
}

/** One connection of TCP with one exchange; its failure in words. */
export function askByTcp(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1");
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error("no answer in time")));
    socket.setEncoding("latin1").on("data", (text) => {
      answer += text;
    });
    let failure = "TCP: closed without an answer";
    socket.once("error", (error) => {
      failure = `TCP: ${error.message}`;
    });
    socket.once("close", () => resolve(answer.startsWith("HTTP/1.1 200 ") ? undefined : failure));
    socket.write("GET /tcp HTTP/1.1\r\nHost: raw\r\nConnection: close\r\n\r\n");
  });
}

export class Load {
  readonly failures: string[] = [];
  calls = { http: 0, tcp: 0 };
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 2 });
  readonly #loops: readonly Promise<void>[];
  #stopped = false;

  /** Begins at once. */
  constructor({ http, tcp }: LoadPorts) {
    this.#loops = [
      this.#repeat("http", () => askOpen(http, this.#agent)),
      this.#repeat("http", () => askOpen(http, this.#agent)),
      this.#repeat("tcp", () => askByTcp(tcp)),
    ];
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
    this.#agent.destroy();
  }

  async #repeat(kind: "http" | "tcp", call: () => Promise<string | undefined>): Promise<void> {
    while (!this.#stopped) {
      const failure = await call();
      this.calls[kind] += 1;
      if (failure !== undefined) this.failures.push(`${new Date().toISOString()} ${failure}`);
      // The test's process has other things to do as well.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}
