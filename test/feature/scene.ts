/** The mesh of `mesh.ts`, running: control plane, an agent with its proxy for each workload, and the server's application. */
import { once } from "node:events";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import type { AgentStatus } from "../../src/agent/status.ts";
import { callAdmin } from "../../src/cli/admin-client.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import type { GarrisonProcess, Scope } from "./garrison.ts";
import { CLIENT, type MeshPorts, meshFiles, pickPorts, SERVER } from "./mesh.ts";
import { Place } from "./place.ts";

/** The options of `garrison run` that choose the proxy. */
export type ProxyFlags = readonly string[];

const REQUEST_TIMEOUT_MS = 10_000;

/** One HTTP request on a connection of its own; its status, or 0 where there was no answer. */
export function get(port: number, path: string): Promise<number> {
  return new Promise((resolve) => {
    const sent = request({ host: "127.0.0.1", port, path, agent: false, timeout: REQUEST_TIMEOUT_MS }, (response) => {
      response.resume().once("error", () => resolve(0));
      response.once("end", () => resolve(response.statusCode ?? 0));
    });
    sent.once("timeout", () => sent.destroy());
    sent.once("error", () => resolve(0));
    sent.end();
  });
}

/** Whether anybody listens there. */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** An application that answers everything with 200. */
export async function startApplication(scope: Scope, port: number): Promise<void> {
  const server = createServer((incoming, response) => {
    incoming.resume();
    response.end(`you asked for ${incoming.url}\n`);
  });
  scope.after(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
}

/** Asks an agent's own socket. */
function askAgent(place: Place, workload: string, method: "GET" | "POST", path: string): Promise<unknown> {
  return callAdmin(join(place.state, "run", workload.replace("/", "."), "agent.sock"), method, path);
}

export class Scene {
  readonly place: Place;
  readonly proxyFlags: ProxyFlags;
  readonly #agents = new Map<string, GarrisonProcess>();
  #ports: MeshPorts | undefined;
  #listen = "";
  #serve: GarrisonProcess | undefined;

  constructor(scope: Scope, proxyFlags: ProxyFlags) {
    this.place = new Place(scope);
    this.proxyFlags = proxyFlags;
  }

  get ports(): MeshPorts {
    if (this.#ports === undefined) throw new Error("no ports have been chosen");
    return this.#ports;
  }

  /** Free ports, the files of the mesh, and the application; nothing of Garrison runs yet. */
  async prepare(): Promise<this> {
    const ports = await pickPorts();
    this.#ports = ports;
    this.#listen = `127.0.0.1:${await pickPort()}`;
    for (const [name, text] of Object.entries(meshFiles(ports))) this.place.write(name, text);
    await startApplication(this.place, ports.application);
    return this;
  }

  get serve(): GarrisonProcess {
    if (this.#serve === undefined) throw new Error("the control plane has not been started");
    return this.#serve;
  }

  agent(workload: string): GarrisonProcess {
    const agent = this.#agents.get(workload);
    if (agent === undefined) throw new Error(`no agent of ${workload} has been started`);
    return agent;
  }

  /** Starts everything; resolves when the client's call goes all the way. */
  async start(serveFlags: readonly string[] = []): Promise<void> {
    await this.prepare();
    await this.startControlPlane(serveFlags);
    await Promise.all([this.startAgent(SERVER), this.startAgent(CLIENT)]);
    await this.untilAnswer("/open", 200);
  }

  /** Always on the same port. */
  async startControlPlane(flags: readonly string[] = []): Promise<void> {
    this.#serve = await this.place.serve(this.#listen, flags);
  }

  /** Starts a workload's agent, with a command where one is given; resolves when its proxy is ready. */
  async startAgent(workload: string, command: readonly string[] = [], flags: ProxyFlags = this.proxyFlags): Promise<GarrisonProcess> {
    const agent = this.place.start(["run", "--workload", workload, ...flags], command);
    this.#agents.set(workload, agent);
    await agent.line(/ proxy ready /);
    return agent;
  }

  /** What an agent says of itself. */
  async agentStatus(workload: string): Promise<AgentStatus> {
    return (await askAgent(this.place, workload, "GET", "/status")) as AgentStatus;
  }

  /** The process of a workload's proxy. */
  async proxyPid(workload: string): Promise<number> {
    const { pid } = (await this.agentStatus(workload)).proxy;
    if (pid === undefined) throw new Error(`${workload} has no proxy`);
    return pid;
  }

  /** Renews a workload's certificate; its new serial. */
  async renew(workload: string): Promise<string> {
    return ((await askAgent(this.place, workload, "POST", "/renew")) as { readonly serial: string }).serial;
  }

  /** Asks for another certificate until there is one. */
  untilRenewed(workload: string): Promise<void> {
    const renewed = async () =>
      this.renew(workload).then(
        () => true,
        () => false,
      );
    return until(`${workload} has another certificate`, renewed);
  }

  /** What the client gets from the server, through both proxies. */
  ask(path: string): Promise<number> {
    return get(this.ports.outbound, path);
  }

  untilAnswer(path: string, status: number): Promise<void> {
    return until(`the client gets ${status} for ${path}`, async () => (await this.ask(path)) === status);
  }

  /** What a stranger without TLS gets from the server's proxy. */
  askInPlaintext(path: string): Promise<number> {
    return get(this.ports.inbound, path);
  }
}
