/** Real proxies before one application: agents of `garrison agent`, each with an Envoy or an embedded proxy, and the client that asks them. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Child, startChild } from "../../src/cli/child.ts";
import { pickPort } from "../../test/fakes/ports.ts";
import type { Fleet } from "../fleet.ts";
import type { Order, Refusal, Report, Server } from "./messages.ts";

type Kind = "envoy" | "embedded";

/** How long all of them have to refuse. */
const LIMIT_MS = 20_000;

interface RealServer extends Server {
  readonly kind: Kind;
  /** Of the fleet. */
  readonly name: string;
}

export class RealServers {
  readonly #application = createServer((_request, response) => void response.end("hello\n"));
  readonly #folder = mkdtempSync(join(tmpdir(), "garrison-servers-"));
  readonly #agents: Child[] = [];
  #servers: readonly RealServer[] = [];
  #client: ChildProcess | undefined;

  /** Chooses their ports; `names` are of the fleet. */
  async prepare(names: readonly string[], kindOf: (index: number) => Kind): Promise<void> {
    this.#application.listen(0, "127.0.0.1");
    await once(this.#application, "listening");
    const ports = await Promise.all(names.map(() => pickPort()));
    this.#servers = names.map((name, index) => ({ name, workload: `fleet/${name}`, port: ports[index] ?? 0, kind: kindOf(index) }));
  }

  /** What the mesh has of a server besides its account, as YAML; empty for others. */
  objects(name: string): string {
    const server = this.#servers.find((each) => each.name === name);
    if (server === undefined) return "";
    const { port } = this.#application.address() as AddressInfo;
    return `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: ${name}, namespace: fleet }
spec:
  workloadSelector: { labels: { app: ${name} } }
  ingress: [{ port: { number: ${server.port}, protocol: HTTP, name: http }, defaultEndpoint: "127.0.0.1:${port}" }]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: ${name}, namespace: fleet }
spec: { selector: { matchLabels: { app: ${name} } }, mtls: { mode: STRICT } }
`;
  }

  /** Starts their agents, and the client. They serve when the client's first order is told to. */
  start(fleet: Fleet): void {
    const { host, port, rootCertificate } = fleet.controlPlane;
    for (const { name, workload, kind } of this.#servers) {
      const state = join(this.#folder, name);
      mkdirSync(state, { mode: 0o700 });
      const token = join(state, "token");
      writeFileSync(token, fleet.token(name), { mode: 0o600 });
      const where = ["--control-plane", `${host}:${port}`, "--root-ca", rootCertificate, "--token-file", token, "--state", state];
      const args = ["agent", ...where, "--workload", workload, "--proxy", kind, "--log-level", "error"];
      this.#agents.push(startChild({ name, args, logFile: join(state, "agent.log"), onLine: (_, line) => void console.error(name, line) }));
    }
    this.#client = fork(join(import.meta.dirname, "client.ts"));
  }

  /** Opens a connection to each by this certificate; resolves once all serve it. */
  async open(material: Pick<Order, "key" | "chain">): Promise<void> {
    this.#client?.send({ servers: this.#servers, ...material } satisfies Order);
    await this.#next("served");
  }

  /** When the last server of each kind has refused, by `process.hrtime` in milliseconds. */
  async refused(): Promise<Readonly<Record<Kind, number>>> {
    const { refusals } = await this.#next("refused");
    const last = (kind: Kind): number => {
      const own = new Set(this.#servers.filter((server) => server.kind === kind).map(({ workload }) => workload));
      return Math.max(...refusals.filter(({ workload }) => own.has(workload)).map(({ at }: Refusal) => at));
    };
    return { envoy: last("envoy"), embedded: last("embedded") };
  }

  async stop(): Promise<void> {
    this.#client?.disconnect();
    await Promise.all(this.#agents.map((agent) => agent.stop()));
    this.#application.close();
    this.#application.closeAllConnections();
    rmSync(this.#folder, { recursive: true });
  }

  async #next<K extends Report["kind"]>(kind: K): Promise<Extract<Report, { readonly kind: K }>> {
    const client = this.#client;
    if (client === undefined) throw new Error("the servers have not been started");
    const [report] = (await once(client, "message", { signal: AbortSignal.timeout(LIMIT_MS) })) as [Report];
    if (report.kind !== kind) throw new Error(`the client says ${report.kind} before ${kind}`);
    return report as Extract<Report, { readonly kind: K }>;
  }
}
