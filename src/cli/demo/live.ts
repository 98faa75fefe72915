/** Changes under traffic: a policy edited, an edit that is broken, certificates rotated. */

import { readFileSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { callAdmin } from "../admin-client.ts";
import type { StatusAnswer } from "../status.ts";
import type { Row } from "./row.ts";
import type { Stage } from "./stage.ts";

const FRONTEND = "photo-ns/photo-frontend";
const BACKEND = "photo-ns/photo-backend";
const POLICY_FILE = "photo-ns-policies.yaml";
const PATHS = '["/photos", "/photos/*"]';
const WIDER_PATHS = '["/photos", "/photos/*", "/admin"]';
const LIMIT_MS = 10_000;
/** Between two edits: people don't save twice in one blink, and what is measured is one edit, not a storm of them. */
const PAUSE_MS = 60;
/** Traffic goes on for so long after the last rotation. */
const AFTERMATH_MS = 200;

/** One connection from the frontend's side of its proxy, kept open over all requests. */
class FrontendConnection {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #host: string;
  readonly #port: number;
  /** Connections that were opened; it stays 1 where nobody drops one. */
  opened = 0;

  constructor(stage: Stage) {
    const egress = stage.workloads.get(FRONTEND)?.egress.find(({ service }) => service === "photo-backend");
    if (egress === undefined) throw new Error("the example's frontend has no egress to the backend");
    this.#host = egress.host;
    this.#port = egress.port;
  }

  get(path: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const sent = request({ agent: this.#agent, host: this.#host, port: this.#port, path }, (response) => {
        response.resume();
        response.once("end", () => resolve(response.statusCode ?? 0));
        response.once("error", reject);
      });
      sent.once("socket", (socket) => {
        if (socket.connecting) this.opened += 1;
      });
      sent.once("error", reject);
      sent.end();
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

export interface EditTimes {
  /** Milliseconds from the end of the write to the first answer under the new policy. */
  readonly times: readonly number[];
  readonly connections: number;
}

/** Puts `/admin` into the frontend's rule and takes it out again, `edits` times in all, and times each until a request feels it. */
export async function timeEdits(stage: Stage, edits: number): Promise<EditTimes> {
  const file = stage.policyFile(POLICY_FILE);
  const original = readFileSync(file, "utf8");
  const connection = new FrontendConnection(stage);
  const times: number[] = [];
  try {
    await connection.get("/admin");
    for (let edit = 0; edit < edits; edit++) {
      const open = edit % 2 === 0;
      writeFileSync(file, open ? original.replace(PATHS, WIDER_PATHS) : original);
      const start = performance.now();
      while ((await connection.get("/admin")) === 403 ? open : !open) {
        if (performance.now() - start > LIMIT_MS) throw new Error("the edit was not enforced");
      }
      times.push(performance.now() - start);
      await pause(PAUSE_MS);
    }
    return { times, connections: connection.opened };
  } finally {
    writeFileSync(file, original);
    connection.close();
  }
}

/** The middle of the values, the upper one of two. */
export function median(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[Math.floor(values.length / 2)] ?? Number.NaN;
}

export async function editRow(stage: Stage, edits: number): Promise<{ readonly row: Row; readonly times: readonly number[] }> {
  const start = performance.now();
  const { times, connections } = await timeEdits(stage, edits).catch((error: Error) => ({ times: [], connections: 0, error }));
  const row: Row = {
    who: "operator",
    what: `edits a policy ${edits} times, on one open connection`,
    expected: "enforced, not dropped",
    got: times.length === edits ? `enforced, ${connections} connection${connections === 1 ? "" : "s"}` : "not enforced",
    rule: `median ${median(times).toFixed(1)} ms`,
    ok: times.length === edits && connections === 1,
    milliseconds: Math.round(performance.now() - start),
  };
  return { row, times };
}

async function problems(stage: Stage): Promise<readonly string[]> {
  const status = (await callAdmin(stage.mesh.adminSocket, "GET", "/v1/status")) as StatusAnswer;
  return status.diagnostics.map(({ text }) => text);
}

/** Breaks the policy file: what was in force stays, and the status says where the file is wrong. */
export async function brokenEditRow(stage: Stage): Promise<Row> {
  const start = performance.now();
  const file = stage.policyFile(POLICY_FILE);
  const original = readFileSync(file, "utf8");
  const connection = new FrontendConnection(stage);
  try {
    writeFileSync(file, original.replace("action: ALLOW", "action: [ALLOW"));
    let told: string | undefined;
    while (told === undefined && performance.now() - start < LIMIT_MS)
      told = (await problems(stage)).find((text) => text.includes(POLICY_FILE));
    const answers = [await connection.get("/photos"), await connection.get("/admin")];
    const code = /GAR\d{4}/.exec(told ?? "")?.[0];
    return {
      who: "operator",
      what: "breaks the policy file",
      expected: "last good state",
      got: answers.join() === "200,403" ? "last good state" : `answers ${answers.join(", ")}`,
      rule: told === undefined ? "not told" : `told: ${code} with file and line`,
      ok: answers.join() === "200,403" && code !== undefined,
      milliseconds: Math.round(performance.now() - start),
    };
  } finally {
    writeFileSync(file, original);
    connection.close();
  }
}

interface AgentAnswer {
  readonly certificate: { readonly serial?: string };
}

async function serialOf(stage: Stage, workload: string): Promise<string | undefined> {
  const answer = (await callAdmin(stage.mesh.agentSocket(workload), "GET", "/status")) as AgentAnswer;
  return answer.certificate.serial;
}

/** Requests without a pause, over one connection that stays and over new ones, counted until it is stopped. */
class Traffic {
  readonly #stage: Stage;
  readonly #loops: readonly Promise<void>[];
  #running = true;
  requests = 0;
  failed = 0;

  constructor(stage: Stage) {
    this.#stage = stage;
    this.#loops = [this.#overOne(), this.#overNew()];
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  async #overOne(): Promise<void> {
    const connection = new FrontendConnection(this.#stage);
    while (this.#running) await this.#count(connection, "/photos");
    connection.close();
  }

  async #overNew(): Promise<void> {
    while (this.#running) {
      const connection = new FrontendConnection(this.#stage);
      await this.#count(connection, "/photos/1");
      connection.close();
    }
  }

  async #count(connection: FrontendConnection, path: string): Promise<void> {
    const status = await connection.get(path).catch(() => 0);
    this.requests += 1;
    if (status !== 200) this.failed += 1;
  }
}

/** Renews the certificates of both ends; whether both took new ones. */
async function renewBoth(stage: Stage): Promise<boolean> {
  const ends = [FRONTEND, BACKEND];
  const before = await Promise.all(ends.map((workload) => serialOf(stage, workload)));
  for (const workload of ends) await callAdmin(stage.mesh.agentSocket(workload), "POST", "/renew");
  const after = await Promise.all(ends.map((workload) => serialOf(stage, workload)));
  return before.every((serial, index) => serial !== undefined && serial !== after[index]);
}

/** Rotates the certificates of both ends while requests go over old and new connections; none may fail. */
export async function rotationRow(stage: Stage): Promise<Row> {
  const start = performance.now();
  const traffic = new Traffic(stage);
  let changed = false;
  try {
    changed = await renewBoth(stage);
    await pause(AFTERMATH_MS);
  } finally {
    await traffic.stop();
  }
  const { requests, failed } = traffic;
  return {
    who: "agents",
    what: "rotate both ends' certificates under traffic",
    expected: "no request fails",
    got: failed === 0 ? "no request fails" : `${failed} of ${requests} failed`,
    rule: `${requests} requests, serials ${changed ? "changed" : "unchanged"}`,
    ok: failed === 0 && changed && requests > 0,
    milliseconds: Math.round(performance.now() - start),
  };
}
