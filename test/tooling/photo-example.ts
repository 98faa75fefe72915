/** Runs the services of examples/photo for tests. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { ROOT } from "./program.ts";

export interface RunningService {
  readonly port: number;
  readonly process: ReturnType<typeof spawn>;
  /** Ends it and returns its exit code. */
  stop(): Promise<number | null>;
}

/** Starts a service on a free port and waits until it listens. It is ended with the test. */
export async function startService(t: TestContext, name: string, env: Readonly<Record<string, string>> = {}): Promise<RunningService> {
  const child = spawn(process.execPath, [join(ROOT, "examples", "photo", `${name}.mjs`)], {
    env: { PATH: process.env.PATH, PORT: "0", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const stop = async () => {
    child.kill("SIGTERM");
    const [code] = await exited;
    return code;
  };
  t.after(stop);
  const [line] = await Promise.race([once(createInterface(child.stdout), "line"), exited.then(() => [`${name} ended`])]);
  const port = /^[a-z-]+: listening on 127\.0\.0\.1:(\d+)$/.exec(String(line))?.[1];
  assert.ok(port !== undefined, String(line));
  return { port: Number(port), process: child, stop };
}

/** The service variables that lead to a service, as `garrison run` sets them. */
export function serviceVariables(service: string, port: number, portName?: string): Readonly<Record<string, string>> {
  const name = service.toUpperCase().replaceAll("-", "_");
  const named = portName === undefined ? {} : { [`${name}_SERVICE_PORT_${portName.toUpperCase().replaceAll("-", "_")}`]: String(port) };
  return { [`${name}_SERVICE_HOST`]: "127.0.0.1", [`${name}_SERVICE_PORT`]: String(port), ...named };
}

/** A folder for Unix sockets, gone with the test. */
export function makeSocketFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "gph-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Answer {
  readonly status: number;
  readonly type: string | undefined;
  readonly body: string;
}

export interface Ask {
  /** A port of 127.0.0.1, or a Unix socket. */
  readonly at: number | string;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** One HTTP request and its whole answer. */
export async function ask({ at, method = "GET", path = "/", headers = {}, body }: Ask): Promise<Answer> {
  const where = typeof at === "number" ? { host: "127.0.0.1", port: at } : { socketPath: at };
  const outgoing = request({ ...where, method, path, headers, agent: false });
  outgoing.end(body);
  const [response] = await once(outgoing, "response");
  response.setEncoding("utf8");
  let text = "";
  for await (const part of response) text += part;
  return { status: response.statusCode, type: response.headers["content-type"], body: text };
}

/** Sends bytes to a port or a Unix socket, half-closes, and returns all that comes back. */
export async function exchange(at: number | string, payloads: readonly string[]): Promise<string> {
  const socket = typeof at === "number" ? connect(at, "127.0.0.1") : connect(at);
  socket.setEncoding("utf8");
  await once(socket, "connect");
  for (const payload of payloads) {
    socket.write(payload);
    await new Promise(setImmediate);
  }
  socket.end();
  let text = "";
  for await (const part of socket) text += part;
  return text;
}
