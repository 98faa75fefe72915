/** Servers of a running mesh that have certificates and no agents, so that they do not get others, as the client's proxy calls them. */
import { once } from "node:events";
import { createServer } from "node:https";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { enrol } from "../feature/caller.ts";
import { SERVER, SERVER_IDENTITY } from "../feature/mesh.ts";
import type { Scene } from "../feature/scene.ts";

const service = (name: string, port: number, identity: string) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name}, namespace: shop }
spec:
  hosts: [${name}.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: ${port} } }]
  subjectAltNames: ["${identity}"]
`;

const listener = (name: string, outbound: number) =>
  `    - { port: { number: ${outbound}, protocol: HTTP, name: ${name} }, bind: 127.0.0.1, hosts: ["shop/${name}.example"] }\n`;

/** Each connection is for one request. */
async function serve(scene: Scene, { key, chain: cert }: TlsMaterial, port: number): Promise<void> {
  const server = createServer({ key, cert }, (_, response) => {
    response.setHeader("connection", "close").end("here\n");
  });
  scene.place.after(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
}

export class ServedCopies {
  readonly #scene: Scene;
  readonly #copies = new Map<string, { readonly outbound: number; readonly material: TlsMaterial }>();

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  /** Another server; with a certificate of the mesh's server, or with a given one, for whom the client takes it. Resolves when its answer is `status`. */
  async add(name: string, given?: { readonly material: TlsMaterial; readonly identity: string }, status = 200): Promise<void> {
    const { place } = this.#scene;
    const { material, identity } = given ?? { material: await this.#issue(), identity: SERVER_IDENTITY };
    const [port, outbound] = [await pickPort(), await pickPort()];
    await serve(this.#scene, material, port);
    this.#copies.set(name, { outbound, material });
    place.write(`${name}.yaml`, service(name, port, identity));
    // The Sidecar stands last in its file.
    place.write("client.yaml", place.read("client.yaml") + listener(name, outbound));
    await this.until(name, status);
  }

  /** What the client's proxy answers. */
  async ask(...names: readonly string[]): Promise<readonly number[]> {
    const one = async (name: string) => (await fetch(`http://127.0.0.1:${this.#copies.get(name)?.outbound}/`)).status;
    return Promise.all(names.map(one));
  }

  until(name: string, status: number): Promise<void> {
    return until(`the server ${name} gives ${status}`, async () => (await this.ask(name).catch(() => [0]))[0] === status);
  }

  /** What `garrison ca revoke` says of its certificate. */
  revoke(name: string) {
    const [leaf] = parseCertificates(this.#copies.get(name)?.material.chain ?? "");
    return this.#scene.place.run("ca", "revoke", "--serial", leaf?.serial ?? "");
  }

  async #issue(): Promise<TlsMaterial> {
    const { place } = this.#scene;
    return enrol(place.controlPlane(), SERVER_IDENTITY, (await place.run("token", SERVER)).stdout.trim());
  }
}
