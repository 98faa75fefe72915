/** A mesh of one trust domain that another one may call: a server, a client, and entries for the other's server and for an impostor. */
import { createPrivateKey } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FederatedDomainStatus } from "../../src/ca/federation/federated-domain.ts";
import { callAdmin } from "../../src/cli/admin-client.ts";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import type { GarrisonProcess, Scope } from "./garrison.ts";
import { account, type MeshPorts, NAMESPACES, peerAuthentication, pickPorts, service, sidecar } from "./mesh.ts";
import { Place } from "./place.ts";
import { get, type ProxyFlags, startApplication } from "./scene.ts";

interface Ports extends MeshPorts {
  readonly serve: number;
  readonly bundle: number;
  /** Where somebody poses as a server. */
  readonly impostor: number;
  /** Where the client's proxy takes calls to the impostor, as the other mesh's server and as this one's. */
  readonly asOther: number;
  readonly asOwn: number;
}

/** Agents whose control plane was away come back further and further apart. */
const SETTLED_MS = 60_000;
const SERVER = "ns/shop/sa/server";

const server = ({ inbound, application }: Ports, other: string) => `${account("server")}${service(inbound)}${sidecar(
  "server",
  `  ingress: [{ port: { number: ${inbound}, protocol: HTTP, name: http }, defaultEndpoint: "127.0.0.1:${application}" }]
`,
)}---
${peerAuthentication("STRICT")}---
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
    - from: [{ source: { principals: ["${other}/billing/API"] } }]
      to: [{ operation: { paths: ["/by-own-form"] } }]
    - from: [{ source: { trustDomains: ["elsewhere.example"] } }]
      to: [{ operation: { paths: ["/elsewhere"] } }]
`;

/** A server at `port` of this machine, which must prove that it is `identity`. */
const entry = (host: string, port: number, identity: string) => `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${host.replace(".", "-")}, namespace: shop }
spec:
  hosts: [${host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: ${port} } }]
  subjectAltNames: ["spiffe://${identity}"]
`;

const egress = (port: number, host: string) =>
  `    - { port: { number: ${port}, protocol: HTTP, name: http }, bind: 127.0.0.1, hosts: ["shop/${host}"] }\n`;

const client = ({ outbound, impostor, asOther, asOwn }: Ports, own: string, other: string, target: number) =>
  [
    account("client"),
    entry("server.other", target, `${other}/${SERVER}`),
    entry("impostor.other", impostor, `${other}/${SERVER}`),
    entry("impostor.own", impostor, `${own}/${SERVER}`),
    sidecar("client", `  egress:\n${egress(outbound, "server.other")}${egress(asOther, "impostor.other")}${egress(asOwn, "impostor.own")}`),
  ].join("");

export class FederatedMesh {
  readonly trustDomain: string;
  readonly place: Place;
  readonly #flags: ProxyFlags;
  ports: Ports = { serve: 0, bundle: 0, inbound: 0, application: 0, outbound: 0, impostor: 0, asOther: 0, asOwn: 0 };
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
    const [serve, bundle, impostor, asOther, asOwn] = await Promise.all([pickPort(), pickPort(), pickPort(), pickPort(), pickPort()]);
    this.ports = { ...(await pickPorts()), serve, bundle, impostor, asOther, asOwn };
    await startApplication(this.place, this.ports.application);
    this.federate([]);
  }

  /** The configuration, when the other's ports are known. */
  write(other: FederatedMesh): void {
    this.place.write("namespaces.yaml", NAMESPACES);
    this.place.write("server.yaml", server(this.ports, other.trustDomain));
    this.place.write("client.yaml", client(this.ports, this.trustDomain, other.trustDomain, other.ports.inbound));
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
      const agent = this.place.start(["run", "--workload", `shop/${name}`, "--output-certs", this.file(name), ...this.#flags]);
      await agent.line(/ proxy ready /);
    }
  }

  /** Waits until the client's certificate files have the roots of just these trust domains. */
  untilFiles(...trustDomains: readonly string[]): Promise<void> {
    const wanted = trustDomains.map((name) => `${name}.pem`).join();
    const found = () =>
      readdirSync(join(this.file("client"), "bundles"))
        .sort()
        .join();
    return until(`the files are ${wanted}`, async () => found() === wanted);
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
    return until(`the other bundle is ${state}`, async () => (await this.statuses())[0]?.state === state, SETTLED_MS);
  }

  /** The mesh's own CA, in the hands of somebody who signs what it never would. */
  stolenCa(): FakeCa {
    const [root] = parseCertificates(readFileSync(join(this.place.state, "ca", "root-cert.pem"), "utf8"));
    const key = createPrivateKey(readFileSync(join(this.place.state, "ca", "ca-key.pem"), "utf8"));
    return new FakeCa(this.trustDomain, Date.now(), key, root);
  }

  /** The control plane ends, and starts again when its bundle of the other domain has so much time left. */
  async restartWith(other: FederatedMesh, leftMs: number, staleAfterMs: number): Promise<void> {
    await this.serve.kill();
    const file = join(this.place.state, "federation", `${other.trustDomain}.json`);
    const kept = JSON.parse(readFileSync(file, "utf8")) as object;
    writeFileSync(file, JSON.stringify({ ...kept, fetchedAt: Date.now() - staleAfterMs + leftMs }));
    await this.startControlPlane();
  }

  /** What this mesh's client gets from the other's server, or by another of its proxy's ports; 0 where there is no answer. */
  ask(path: string, port = this.ports.outbound): Promise<number> {
    return get(port, path);
  }

  untilAnswer(path: string, status: number): Promise<void> {
    return until(`${this.trustDomain} gets ${status} for ${path}`, async () => (await this.ask(path)) === status, SETTLED_MS);
  }
}
