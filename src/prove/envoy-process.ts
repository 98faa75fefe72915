/** A real Envoy as a child process, from our bootstrap; it never outlives this process. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { type BootstrapOptions, renderBootstrap } from "../render/envoy/bootstrap.ts";

/** A folder for sockets and files, short enough for a Unix socket's path. */
export function workFolder(): { readonly path: string; readonly [Symbol.dispose]: () => void } {
  const path = mkdtempSync(join(tmpdir(), "envoy-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export class EnvoyProcess {
  readonly #child: ChildProcess;
  readonly #adminSocket: string;
  #output = "";

  private constructor(child: ChildProcess, adminSocket: string) {
    this.#child = child;
    this.#adminSocket = adminSocket;
    child.stderr?.on("data", (chunk) => {
      this.#output += String(chunk);
    });
  }

  /** Starts the program; it serves when `ready` resolves. */
  static start(program: string, folder: string, options: Omit<BootstrapOptions, "adminSocket">): EnvoyProcess {
    const adminSocket = join(folder, "admin.sock");
    const file = join(folder, "bootstrap.json");
    writeFileSync(file, JSON.stringify(renderBootstrap({ ...options, adminSocket })));
    const flags = [
      "--concurrency",
      "1",
      "--disable-hot-restart",
      "--drain-strategy",
      "immediate",
      "--drain-time-s",
      "1",
      "--log-level",
      "warn",
    ];
    const child = spawn(program, ["-c", file, ...flags], { stdio: ["ignore", "ignore", "pipe"] });
    process.once("exit", () => child.kill("SIGKILL"));
    return new EnvoyProcess(child, adminSocket);
  }

  /** What it wrote to its log. */
  get output(): string {
    return this.#output;
  }

  /** Asks the admin interface. */
  async admin(path: string, method = "GET"): Promise<{ readonly status: number; readonly body: string }> {
    const call = request({ socketPath: this.#adminSocket, path, method, agent: false }).end();
    const [response] = await once(call, "response");
    return { status: response.statusCode, body: await text(response) };
  }

  /** Resolves when every listener that it was given serves. */
  async ready(timeoutMs = 20_000): Promise<void> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      if (this.#child.exitCode !== null) throw new Error(`envoy ended with ${this.#child.exitCode}: ${this.#output}`);
      const answer = await this.admin("/ready").catch(() => undefined);
      if (answer?.status === 200) return;
      if (Date.now() > end) throw new Error(`envoy is not ready: ${answer?.body ?? "no answer"} ${this.#output}`);
      await delay(20);
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}
