/** Captured HTTP between two hosts whose programs know of no mesh, and a third host that has no identity. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until as untilTrue } from "../fakes/processes.ts";
import { Place } from "../feature/place.ts";
import { CapturedMesh, plainHttpServer, serviceYaml, workloadYaml } from "./captured-mesh.ts";
import { type Host, network } from "./hosts.ts";

const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";
const SERVER = "spiffe://cluster.local/ns/shop/sa/server";
/** What `curl` says where the connection is closed, or nobody answers. */
const NO_ANSWER = "000";

function peers(mode: string): string {
  return `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: ${mode} } }
`;
}

const RULES = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: server, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  action: ALLOW
  rules:
    - from: [{ source: { principals: ["cluster.local/ns/shop/sa/client", "cluster.local/ns/shop/sa/server"] } }]
      to: [{ operation: { paths: ["/open"] } }]
    - from: [{ source: { principals: ["cluster.local/ns/shop/sa/client"] } }]
      to: [{ operation: { ports: ["9999"] } }]
`;

/** As `garrison inject` writes them. */
const PROBES = JSON.stringify({
  "/app-health/app/livez": { kind: "http", scheme: "HTTP", port: 8080, path: "/live", headers: [], timeoutSeconds: 1 },
  "/app-health/app/readyz": { kind: "tcp", port: 9999, timeoutSeconds: 1 },
  "/app-health/app/startupz": { kind: "tcp", port: 9, timeoutSeconds: 1 },
});

/** Whoever answers at the address of `posing` is not who should: no proxy is there. */
const POSING = "posing";

function servers(server: Host, stranger: Host): string {
  return (
    workloadYaml("server", server.address) +
    serviceYaml("server", "10.96.0.10", "{ name: http, port: 80, targetPort: 8080 }") +
    `---\n${workloadYaml(POSING, stranger.address)}` +
    serviceYaml(POSING, "10.96.0.11", "{ name: http, port: 80, targetPort: 8000 }")
  );
}

const unknownDestinations = (mode: string): string => `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default, namespace: shop }
spec: { outboundTrafficPolicy: { mode: ${mode} } }
`;

describe("captured HTTP", { timeout: 180_000 }, () => {
  const place = new Place({ after });
  const hosts = network(place, ["control", "client", "server", "stranger", "elsewhere"]);
  const { client, server, stranger, elsewhere } = hosts;
  const until = async (what: string, url: string, answer: string): Promise<void> => {
    let last = "";
    await untilTrue(`${what}: ${last}`, async () => {
      last = await client.curl(url);
      return last === answer;
    });
  };

  before(async () => {
    place.write("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n");
    place.write("client.yaml", workloadYaml("client", client.address));
    place.write("servers.yaml", servers(server, stranger));
    place.write("rules.yaml", peers("STRICT") + RULES);
    const mesh = new CapturedMesh(place, hosts.control);
    await mesh.serve();
    for (const [host, port] of [
      [server, 8080],
      [server, 9999],
      [server, 9998],
      [stranger, 8000],
      [elsewhere, 8000],
    ] as const)
      plainHttpServer(host, port);
    await Promise.all([
      mesh.join(client, "client"),
      mesh.join(server, "server", ["--exclude-inbound-ports", "9998"], ["--health-listen", "0.0.0.0:15021", "--app-probes", PROBES]),
      ...[server.listening(8080), server.listening(9999), server.listening(9998)],
      ...[stranger.listening(8000), elsewhere.listening(8000)],
    ]);
  });

  test("goes by a service's address, with the caller's identity, and policies decide", async () => {
    assert.equal(await client.curl("http://10.96.0.10/open"), `200 server /open for ${CLIENT}`);
    assert.equal(await client.curl("http://10.96.0.10/closed"), "403 RBAC: access denied");
    // Where it was going counts, not what the request says of it.
    assert.equal(
      await client.curl("http://10.96.0.10/open", "-H", "host: posing.shop.svc.cluster.local"),
      `200 server /open for ${CLIENT}`,
    );
  });

  test("keeps mutual TLS and identities where a workload is called by its own address", async () => {
    assert.equal(await client.curl(`http://${server.address}:8080/open`), `200 server /open for ${CLIENT}`);
    assert.equal(await client.curl(`http://${server.address}:8080/closed`), "403 RBAC: access denied");
  });

  test("is that of every user but the proxy's own, whatever groups it is in", async () => {
    for (const groups of [
      ["--regid=1337", "--clear-groups"],
      ["--regid=1000", "--groups=1337"],
    ]) {
      const argv = ["setpriv", "--reuid=1000", ...groups, "curl", "-s", "-m", "10", `http://${server.address}:8080/open`];
      assert.equal((await client.run(argv)).stdout, `server /open for ${CLIENT}`, groups.join(" "));
    }
  });

  test("reaches the workload itself when it calls its own service, as itself", async () => {
    assert.equal(await server.curl("http://10.96.0.10/open"), `200 server /open for ${SERVER}`);
    assert.equal(await server.curl(`http://${server.address}:8080/closed`), "200 server /closed for nobody");
  });

  test("is refused to whoever comes in plaintext, at every port, declared or not", async () => {
    assert.equal(await stranger.curl(`http://${server.address}:8080/open`), NO_ANSWER);
    assert.equal(await stranger.curl(`http://${server.address}:9999/open`), NO_ANSWER);
    await untilTrue("both are on record, with the service where one is declared", async () => {
      const { stdout } = await place.run("audit", "--effect", "refused", "--json");
      const records = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line || "{}") as { readonly port?: number; readonly service?: string; readonly detail?: string });
      const found = records.filter(({ detail }) => detail === "plaintext where mutual TLS is required");
      return (
        found.some(({ port, service }) => port === 8080 && service === "shop/server") &&
        found.some(({ port, service }) => port === 9999 && service === "")
      );
    });
  });

  test("is held to policies as TCP at a port that no service declares", async () => {
    assert.equal(await client.curl(`http://${server.address}:9999/any`), "200 server /any for nobody");
    // No rule names the port.
    const program = server.start([process.execPath, "-e", 'require("node:http").createServer((q, r) => r.end("x")).listen(9997)']);
    await server.listening(9997);
    assert.equal(await client.curl(`http://${server.address}:9997/any`), NO_ANSWER);
    await program.stop();
  });

  test("sends nothing to who cannot prove to be the service, nor to the workload, that was called", async () => {
    assert.match(await client.curl("http://10.96.0.11/secret"), /^503 /);
    assert.equal(await client.curl(`http://${stranger.address}:8000/secret`), NO_ANSWER);
    await untilTrue("it is on record", async () => {
      const { stdout } = await place.run("audit", "--effect", "refused");
      return /shop\/client .*the server's identity was refused/.test(stdout);
    });
  });

  test("goes to an unknown destination in plaintext, or nowhere where only known ones are allowed", async () => {
    const url = `http://${elsewhere.address}:8000/`;
    assert.equal(await client.curl(url), "200 elsewhere / for nobody");
    place.write("sidecar.yaml", unknownDestinations("REGISTRY_ONLY"));
    await until("nothing unknown is reached", url, NO_ANSWER);
    assert.equal(await client.curl("http://10.96.0.10/open"), `200 server /open for ${CLIENT}`);
    assert.equal(await client.curl(`http://${server.address}:8080/open`), `200 server /open for ${CLIENT}`);
    place.write("sidecar.yaml", unknownDestinations("ALLOW_ANY"));
    await until("it is reached again", url, "200 elsewhere / for nobody");
  });

  test("is not captured where the rules leave it out", async () => {
    assert.equal(await stranger.curl(`http://${server.address}:9998/`), "200 server / for nobody");
  });

  test("lets the node ask whether the application lives, though it comes in plaintext", async () => {
    const ask = (path: string) => stranger.curl(`http://${server.address}:15021${path}`);
    assert.equal(await ask("/healthz/ready"), "200 ready");
    assert.equal(await ask("/app-health/app/livez"), "200 ok");
    assert.equal(await ask("/app-health/app/readyz"), "200 ok");
    assert.equal(await ask("/app-health/app/startupz"), "503 the application cannot be reached: ECONNREFUSED");
  });

  test("ends at the proxy's own ports, from inside and from outside, and never goes in circles", async () => {
    for (const port of [15001, 15006]) {
      assert.equal(await stranger.curl(`http://${server.address}:${port}/`), NO_ANSWER);
      assert.equal(await client.curl(`http://${server.address}:${port}/`), NO_ANSWER);
      assert.equal(await server.curl(`http://127.0.0.1:${port}/`), NO_ANSWER);
    }
    assert.equal(await client.curl("http://10.96.0.10/open"), `200 server /open for ${CLIENT}`);
  });

  test("lets plaintext in where the mode says so", async () => {
    place.write("rules.yaml", peers("PERMISSIVE"));
    await untilTrue(
      "plaintext is let in",
      async () => (await stranger.curl(`http://${server.address}:8080/closed`)) === "200 server /closed for nobody",
    );
    assert.equal(await stranger.curl(`http://${server.address}:9999/`), "200 server / for nobody");
    assert.equal(await client.curl("http://10.96.0.10/closed"), `200 server /closed for ${CLIENT}`);
  });
});
