/** Trust between domains with an implementation that others wrote: go-spiffe as the Workload API's client, as a bundle endpoint's client, and as a bundle endpoint. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { FakeCa } from "../fakes/fake-ca.ts";
import { until } from "../fakes/processes.ts";
import { FederatedMesh } from "../feature/federated-mesh.ts";

const TOOLS = process.env.GARRISON_GO_TOOLS ?? "";
const skip = TOOLS === "" && process.env.GARRISON_REQUIRE_GO !== "1" ? "there are no Go tools" : false;
const PROGRAM = join(TOOLS, "spiffe-client");
const ALGORITHMS = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];
const execute = promisify(execFile);

type Told = Readonly<Record<string, unknown>>;

/** What go-spiffe's program says, with the Workload API at this socket. */
async function goSpiffe(socket: string, ...args: readonly string[]): Promise<Told> {
  const env = { ...process.env, SPIFFE_ENDPOINT_SOCKET: `unix://${socket}` };
  const { stdout } = await execute(PROGRAM, args, { env, timeout: 60_000 });
  return JSON.parse(stdout) as Told;
}

interface Endpoint {
  readonly url: string;
  /** JWT-SVIDs of the endpoint's domain, by their algorithms; and by the same keys, of another domain. */
  readonly own: Readonly<Record<string, string>>;
  readonly forged: Readonly<Record<string, string>>;
  /** A further root in its bundle. */
  addRoot(): void;
}

const children: ChildProcess[] = [];

/** A bundle endpoint of go-spiffe. */
async function startEndpoint(profile: "web" | "spiffe", domain: string, folder: string): Promise<Endpoint> {
  mkdirSync(folder);
  const child = spawn(PROGRAM, ["endpoint", profile, domain, "west.example", folder], { stdio: ["pipe", "pipe", "inherit"] });
  children.push(child);
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  const { url, own, forged } = JSON.parse(line) as Omit<Endpoint, "addRoot">;
  return { url, own, forged, addRoot: () => void child.stdin.write("\n") };
}

describe("trust between domains, with go-spiffe", { skip, timeout: 180_000 }, () => {
  const east = new FederatedMesh({ after }, "east.example", ["--proxy", "none"]);
  const west = new FederatedMesh({ after }, "west.example", ["--proxy", "none"]);
  const webCa = new FakeCa("web");
  const socketOf = (mesh: FederatedMesh) => join(mesh.place.state, "run", "shop.client", "workload.sock");
  const ofEast = (...args: readonly string[]) => goSpiffe(socketOf(east), ...args);
  let north: Endpoint;
  let south: Endpoint;

  after(async () => {
    for (const child of children) {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "close");
    }
  });

  /** East's entry for west, whose endpoint has a certificate for its address. */
  const webEntry = () =>
    `{ trustDomain: west.example, url: "https://127.0.0.1:${west.ports.bundle}/", profile: https_web, caFile: web-ca.pem, staleAfter: 1h }`;

  const untilKnown = (known: Told) =>
    until(
      `go-spiffe is given ${JSON.stringify(known)}`,
      async () => JSON.stringify((await ofEast("bundles")).x509) === JSON.stringify(known),
    );

  before(async () => {
    await Promise.all([east.prepare(), west.prepare()]);
    east.write(west);
    west.write(east);
    writeFileSync(east.file("web-ca.pem"), webCa.rootPem);
    const { key, chain } = webCa.serverMaterial({ addresses: ["127.0.0.1"] });
    writeFileSync(west.file("web-key.pem"), key, { mode: 0o600 });
    writeFileSync(west.file("web.pem"), chain);
    const files = ["--bundle-endpoint-certificate", west.file("web.pem"), "--bundle-endpoint-key", west.file("web-key.pem")];
    await Promise.all([east.startControlPlane(), west.startControlPlane(files)]);
    for (const mesh of [east, west]) {
      const agent = mesh.place.start(["run", "--workload", "shop/client", "--proxy", "none"]);
      await agent.line(/certificate received/);
    }
    [north, south] = await Promise.all([
      startEndpoint("spiffe", "north.example", east.file("north")),
      startEndpoint("web", "south.example", east.file("south")),
    ]);
  });

  test("its endpoint client takes the bundle by each profile, and by nothing else", async () => {
    const url = (mesh: FederatedMesh) => `https://127.0.0.1:${mesh.ports.bundle}/`;
    const identity = "spiffe://east.example/ns/istio-system/sa/garrison";
    const bundle = east.file("east.json");
    writeFileSync(bundle, (await east.place.run("federation", "bundle")).stdout);
    const fetched = await goSpiffe("", "fetch", url(east), "east.example", "spiffe", bundle, identity);
    assert.deepEqual(fetched, { x509: 1, jwt: 1, sequence: 1, hint: 300 });
    assert.deepEqual(await goSpiffe("", "fetch", url(west), "west.example", "web", east.file("web-ca.pem")), fetched);

    const refused = async (...args: readonly string[]) => String((await goSpiffe("", "fetch", ...args)).error);
    assert.match(await refused(url(east), "east.example", "spiffe", bundle, "spiffe://east.example/other"), /unexpected ID/);
    assert.match(await refused(url(east), "east.example", "web", east.file("web-ca.pem")), /certificate/);
    writeFileSync(east.file("stranger.pem"), new FakeCa("stranger").rootPem);
    assert.match(await refused(url(west), "west.example", "web", east.file("stranger.pem")), /unknown authority/);
  });

  test("its handler is an endpoint that the control plane follows, by each profile; its clients get every domain's bundles", async () => {
    assert.deepEqual(await ofEast("bundles"), { x509: { "east.example": 1 }, bundles: 1, jwt: { "east.example": 1 } });
    const identity = "spiffe://north.example/bundle/endpoint";
    east.federate([
      webEntry(),
      `{ trustDomain: north.example, url: "${north.url}", profile: https_spiffe, endpointSpiffeId: "${identity}", bundleFile: north/north.example.json, staleAfter: 6s }`,
      `{ trustDomain: south.example, url: "${south.url}", profile: https_web, caFile: south/ca.pem, staleAfter: 6s }`,
    ]);
    west.federate([await east.entryFor(west)]);
    await untilKnown({ "east.example": 1, "north.example": 1, "south.example": 1, "west.example": 1 });
    const { bundles, jwt } = await ofEast("bundles");
    assert.equal(bundles, 4);
    assert.deepEqual(jwt, { "east.example": 1, "north.example": 4, "south.example": 4, "west.example": 1 });
    north.addRoot();
    south.addRoot();
    await untilKnown({ "east.example": 1, "north.example": 2, "south.example": 2, "west.example": 1 });
  });

  test("programs of two domains prove themselves to each other by mutual TLS, each as one of its own domain", async () => {
    await until("west's program knows east", async () => "error" in (await ofEast("across", `unix://${socketOf(west)}`)) === false);
    assert.deepEqual(await ofEast("across", `unix://${socketOf(west)}`), {
      server: "spiffe://west.example/ns/shop/sa/client",
      client: "spiffe://east.example/ns/shop/sa/client",
    });
    assert.match(String((await ofEast("across-wrong", `unix://${socketOf(west)}`)).error), /unexpected trust domain/);
  });

  test("a JWT-SVID of the other mesh is good here for the agent and for the library, and no other domain's", async () => {
    const { token } = await goSpiffe(socketOf(west), "jwt", "vault");
    const identity = "spiffe://west.example/ns/shop/sa/client";
    assert.deepEqual(await ofEast("validate", "vault", String(token)), { agent: identity, library: identity });
    const { agent, library } = await ofEast("validate", "db", String(token));
    assert.match(String(agent), /InvalidArgument.*audience/);
    assert.match(String(library), /audience/);
  });

  test("JWT-SVIDs of every algorithm are good for the agent and for the library, and with another domain's name for neither", async () => {
    assert.deepEqual(Object.keys(north.own).sort(), ALGORITHMS);
    for (const algorithm of ALGORITHMS) {
      const good = await ofEast("validate", "vault", String(north.own[algorithm]));
      const identity = "spiffe://north.example/billing/API";
      assert.deepEqual(good, { agent: identity, library: identity }, algorithm);
      const { agent, library } = await ofEast("validate", "vault", String(north.forged[algorithm]));
      assert.match(String(agent), /InvalidArgument.*no key of the trust domain/, algorithm);
      assert.match(String(library), /no JWT authority/, algorithm);
    }
  });

  test("a domain that is taken out of the file is no longer told of, and its tokens are refused", async () => {
    const { token } = await goSpiffe(socketOf(west), "jwt", "vault");
    east.federate([]);
    await untilKnown({ "east.example": 1 });
    const { agent, library } = await ofEast("validate", "vault", String(token));
    assert.match(String(agent), /InvalidArgument.*no key of the trust domain/);
    assert.match(String(library), /no bundle found/);
  });
});
