/** A mesh of one trust domain that another one may call: a server, a client, and an entry for the other's server. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { join } from "node:path";
import type { FederatedDomainStatus } from "../../src/ca/federation/federated-domain.ts";
import { callAdmin } from "../../src/cli/admin-client.ts";
import { until } from "../fakes/processes.ts";
import type { GarrisonProcess, Scope } from "./garrison.ts";
import { pickPort } from "./mesh.ts";
import { Place } from "./place.ts";
import type { ProxyFlags } from "./scene.ts";

interface Ports {
  readonly serve: number;
  readonly bundle: number;
  readonly inbound: number;
  readonly application: number;
  readonly outbound: number;
}

const account = (name: string) => `apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: shop }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: shop }
spec: { address: 127.0.0.1, serviceAccount: ${name}, labels: { app: ${name} } }
---
`;

const server = ({ inbound, application }: Ports, other: string) => `${account("server")}apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec:
  selector: { app: server }
  ports: [{ name: http, port: 80, targetPort: ${inbound} }]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: server, namespace: shop }
spec:
  workloadSelector: { labels: { app: server } }
  ingress:
    - { port: { number: ${inbound}, protocol: HTTP, name: http }, defaultEndpoint: "127.0.0.1:${application}" }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: other-mesh, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  rules:
    - from: [{ source: { principals: ["${other}/ns/shop/sa/client"] } }]
      to: [{ operation: { paths: ["/by-name"] } }]
    - from: [{ source: { trustDomains: ["${other}"] } }]
      to: [{ operation: { paths: ["/by-domain"] } }]
    - from: [{ source: { trustDomains: ["elsewhere.example"] } }]
      to: [{ operation: { paths: ["/elsewhere"] } }]
`;

const client = ({ outbound }: Ports, other: string, target: number) => `${account("client")}apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: other-server, namespace: shop }
spec:
  hosts: [server.${other}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: ${target} } }]
  subjectAltNames: ["spiffe://${other}/ns/shop/sa/server"]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: client, namespace: shop }
spec:
  workloadSelector: { labels: { app: client } }
  egress:
    - { port: { number: ${outbound}, protocol: HTTP, name: http }, bind: 127.0.0.1, hosts: ["shop/server.${other}"] }
`;

export class FederatedMesh {
  readonly trustDomain: string;
  readonly place: Place;
  readonly #flags: ProxyFlags;
  ports: Ports = { serve: 0, bundle: 0, inbound: 0, application: 0, outbound: 0 };
  #serve: GarrisonProcess | undefined;

  constructor(scope: Scope, trustDomain: string, flags: ProxyFlags) {
    this.trustDomain = trustDomain;
    this.#flags = flags;
    this.place = new Place(scope);
  }

  get serve(): GarrisonProcess {
    if (this.#serve === undefined) throw new Error("the control plane has not been started");
    return this.#serve;
  }

  file(name: string): string {
    return join(this.place.folder, name);
  }

  async prepare(): Promise<void> {
    const ports: number[] = [];
    while (ports.length < 5) ports.push(await pickPort());
    const [serve = 0, bundle = 0, inbound = 0, application = 0, outbound = 0] = ports;
    this.ports = { serve, bundle, inbound, application, outbound };
    const app = createServer((incoming, response) => {
      incoming.resume();
      response.end("here\n");
    });
    this.place.after(() => {
      app.close();
      app.closeAllConnections();
    });
    app.listen(application, "127.0.0.1");
    await once(app, "listening");
    this.federate([]);
  }

  /** The configuration, when the other's ports are known. */
  write(other: FederatedMesh): void {
    this.place.write("namespaces.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n");
    this.place.write("server.yaml", server(this.ports, other.trustDomain));
    this.place.write("client.yaml", client(this.ports, other.trustDomain, other.ports.inbound));
  }

  async startControlPlane(flags: readonly string[] = []): Promise<void> {
    const { serve, bundle } = this.ports;
    const own = [
      "--trust-domain",
      this.trustDomain,
      "--federation",
      this.file("federation.yaml"),
      "--bundle-endpoint",
      `127.0.0.1:${bundle}`,
    ];
    this.#serve = await this.place.serve(`127.0.0.1:${serve}`, [...own, ...flags]);
  }

  async startAgents(): Promise<void> {
    for (const name of ["server", "client"]) {
      const agent = this.place.start(["run", "--workload", `shop/${name}`, ...this.#flags]);
      await agent.line(/ proxy ready /);
    }
  }

  /** What `federation.yaml` says from now on: entries as YAML flow mappings. */
  federate(entries: readonly string[]): void {
    writeFileSync(this.file("federation.yaml"), `federatesWith: [${entries.join(", ")}]\n`);
  }

  /** The entry by which others federate with this mesh, its first bundle in their folder. */
  async entryFor(other: FederatedMesh, staleAfter = "1h"): Promise<string> {
    const { stdout } = await this.place.run("federation", "bundle");
    writeFileSync(other.file(`${this.trustDomain}.json`), stdout);
    const identity = `spiffe://${this.trustDomain}/ns/istio-system/sa/garrison`;
    const url = `https://127.0.0.1:${this.ports.bundle}/`;
    return `{ trustDomain: ${this.trustDomain}, url: "${url}", profile: https_spiffe, endpointSpiffeId: "${identity}", bundleFile: ${this.trustDomain}.json, staleAfter: ${staleAfter} }`;
  }

  async statuses(): Promise<readonly FederatedDomainStatus[]> {
    return (await callAdmin(join(this.place.state, "admin.sock"), "GET", "/v1/federation")) as readonly FederatedDomainStatus[];
  }

  untilState(state: FederatedDomainStatus["state"]): Promise<void> {
    return until(`the other bundle is ${state}`, async () => (await this.statuses())[0]?.state === state);
  }

  /** What this mesh's client gets from the other's server; 0 where there is no answer. */
  ask(path: string): Promise<number> {
    return new Promise((resolve) => {
      const sent = request({ host: "127.0.0.1", port: this.ports.outbound, path, agent: false, timeout: 10_000 }, (response) => {
        response.resume().once("error", () => resolve(0));
        response.once("end", () => resolve(response.statusCode ?? 0));
      });
      sent.once("timeout", () => sent.destroy());
      sent.once("error", () => resolve(0));
      sent.end();
    });
  }

  untilAnswer(path: string, status: number): Promise<void> {
    return until(`${this.trustDomain} gets ${status} for ${path}`, async () => (await this.ask(path)) === status);
  }
}
