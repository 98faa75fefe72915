/** A gateway and a proxy in the middle, as their users meet them; the same tests for each proxy. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, request } from "node:http";
import { networkInterfaces } from "node:os";
import { before, describe, test } from "node:test";
import { OutsideCa } from "../fakes/outside-ca.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { SigningKey } from "../fixture/tokens.ts";
import { enrol, openAds } from "./caller.ts";
import type { FaultOptions } from "./faults.ts";
import { edgePolicy, edgeWorkload, type GatewayPorts, gatewayMesh, ISSUER, secret, tlsSecret } from "./gateway-mesh.ts";
import { type Ask, ask, askHosts } from "./outsider.ts";
import { Place } from "./place.ts";
import type { ProxyFlags } from "./scene.ts";

interface Seen {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

const SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const SHOP = "shop.example.org";
const PARTNERS = "partners.example.org";

/** Of this machine, 127.0.0.1 among them. */
function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((addresses = []) => addresses.map(({ address }) => address));
}

interface Answered {
  readonly status: number;
  readonly body: string;
  readonly deniedBy: string | undefined;
}

/** A request by the client's own proxy, to the middle. */
function askMiddle(port: number, path: string, method: string): Promise<Answered> {
  const { promise, resolve, reject } = Promise.withResolvers<Answered>();
  const sent = request({ host: "127.0.0.1", port, path, method, agent: false, headers: { host: "whatever.example.org" } }, (response) => {
    let body = "";
    response.setEncoding("utf8").on("data", (text: string) => {
      body += text;
    });
    const by = response.headers["x-garrison-denied-by"];
    response.once("end", () => resolve({ status: response.statusCode ?? 0, body, deniedBy: typeof by === "string" ? by : undefined }));
  });
  sent.once("error", reject);
  sent.end();
  return promise;
}

export function describeGateways(name: string, flags: ProxyFlags, { skip = false, scope }: FaultOptions): void {
  describe(`a gateway with ${name}`, { skip, timeout: 120_000 }, () => {
    const place = new Place(scope);
    const [ca, clients, strangers] = [new OutsideCa("servers"), new OutsideCa("clients"), new OutsideCa("strangers")];
    const partner = clients.issue("partner.example.org");
    const revoked = clients.issue("partner.example.org");
    const key = new SigningKey("k1");
    const jwks = JSON.stringify({ keys: [key.jwk()] });
    const token = { authorization: `Bearer ${key.token({ iss: ISSUER, sub: "alice", exp: Math.floor(Date.now() / 1000) + 600 })}` };
    let ports: GatewayPorts;
    let log = "";

    before(async () => {
      const [http, https, middle, orders, application, outbound] = await Promise.all(Array.from({ length: 6 }, pickPort));
      ports = { http, https, middle, orders, application, outbound } as GatewayPorts;
      place.write("mesh.yaml", gatewayMesh(ports));
      place.write("edge-workload.yaml", edgeWorkload(0));
      place.write("edge.yaml", edgePolicy("targetRefs", jwks));
      place.write("shop-cert.yaml", tlsSecret("shop-cert", ca.issue(SHOP)));
      place.write(
        "partners.yaml",
        tlsSecret("partners-cert", ca.issue(PARTNERS)) +
          secret("partners-cert-cacert", { "ca.crt": clients.root, "ca.crl": clients.revocationList(revoked) }),
      );
      place.write(
        "broken.yaml",
        secret("broken-cert", { "tls.crt": ca.issue("broken.example.org").cert, "tls.key": ca.issue("other.example.org").key }),
      );
      const server = createServer((incoming, response) => {
        incoming.resume();
        response.end(JSON.stringify({ url: incoming.url, headers: incoming.headers }));
      });
      place.after(() => {
        server.close();
        server.closeAllConnections();
      });
      server.listen(ports.application, "127.0.0.1");
      await once(server, "listening");
      const serve = await place.serve();
      await Promise.all(
        ["edge/ingress", "middle/proxy", "shop/orders", "shop/client"].map(async (workload) => {
          const agent = place.start(["run", "--workload", workload, ...flags]);
          await agent.line(/ proxy ready /);
        }),
      );
      await until("the gateway answers", async () => (await ask(shop("/orders/1", token))).status === 200);
      log = serve.output;
    });

    const shop = (path: string, headers: Readonly<Record<string, string>> = {}): Ask => ({
      port: ports.https,
      path,
      ca: ca.root,
      name: SHOP,
      headers,
    });
    const partners = (certificate: Ask["certificate"]): Ask => ({
      port: ports.https,
      path: "/orders/1",
      ca: ca.root,
      name: PARTNERS,
      ...(certificate === undefined ? {} : { certificate }),
    });

    test("an outsider with a token reaches the service, which knows the gateway and the client's address", async () => {
      const forged = {
        ...token,
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-proto": "http",
        "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/shop/sa/client",
      };
      const { status, body } = await ask(shop("/orders/1?full=1", forged));
      assert.equal(status, 200);
      const { url, headers } = JSON.parse(body) as Seen;
      assert.equal(url, "/orders/1?full=1");
      assert.equal(headers.host, SHOP);
      assert.match(
        String(headers["x-forwarded-client-cert"]),
        /^By=spiffe:\/\/cluster\.local\/ns\/shop\/sa\/orders;Hash=[0-9a-f]{64};.*URI=spiffe:\/\/cluster\.local\/ns\/edge\/sa\/ingress$/,
      );
      const [first, last = "", ...more] = String(headers["x-forwarded-for"]).split(",");
      assert.deepEqual([first, more], ["192.0.2.1", []]);
      // For a client on loopback Envoy names an address of the machine itself.
      assert.ok(ownAddresses().includes(last), last);
      assert.equal(headers["x-forwarded-proto"], "https");
      assert.equal(headers.authorization, token.authorization);
    });

    test("what the policies of the gateway do not allow comes no further", async () => {
      assert.equal((await ask(shop("/orders/1"))).status, 403);
      assert.equal((await ask(shop("/orders/secret", token))).status, 403);
      assert.equal((await ask(shop("/orders/x/..%2fsecret", token))).status, 200);
      assert.equal((await ask(shop("/orders/x/../secret", token))).status, 403);
      assert.equal((await ask(shop("/orders/1", { authorization: "Bearer nonsense" }))).status, 401);
    });

    test("a route is found by Host without case or port, by path and by method; without one the answer is 404", async () => {
      const statuses = async (...asks: readonly Partial<Ask>[]): Promise<readonly number[]> =>
        Promise.all(asks.map(async (more) => (await ask({ ...shop("/orders/1", token), ...more })).status));
      assert.deepEqual(
        await statuses({ host: "SHOP.Example.org" }, { host: `${SHOP}:${ports.https}` }, { host: `${SHOP}:1` }),
        [200, 200, 200],
      );
      assert.deepEqual(await statuses({ path: "/" }, { path: "/order" }, { path: "/ordersX" }, { path: "/Orders" }), [404, 404, 200, 404]);
      assert.deepEqual(
        await statuses({ path: "/health" }, { path: "/health?x" }, { path: "/health", method: "POST" }, { path: "/health/" }),
        [200, 200, 404, 404],
      );
      assert.deepEqual(await statuses({ host: "nobody.example.org" }, { path: "/gone" }), [404, 503]);
    });

    test("each line of a header is tried by a route, the lines of a few as one, and an empty one is there", async () => {
      const right = { "x-two": ["1", "2"], accept: ["a", "b"], "x-there": "" };
      const wrong = [{ "x-two": "1,2" }, { accept: "a" }, { accept: ["b", "a"] }];
      const all = [right, { ...right, accept: "a,b" }, ...wrong.map((more) => ({ ...right, ...more })), { "x-two": "2", accept: "a,b" }];
      const statuses = await Promise.all(
        all.map(async (more) => (await ask({ ...shop("/headers"), headers: { ...token, ...more } })).status),
      );
      assert.deepEqual(statuses, [200, 200, 404, 404, 404, 404]);
    });

    test("a host of another server of the port is misdirected, whatever connection it comes by", async () => {
      assert.equal((await ask({ ...shop("/orders/1", token), host: PARTNERS })).status, 421);
      assert.deepEqual(await askHosts(shop("/orders/1", token), [SHOP, PARTNERS, "nobody.example.org", SHOP]), [200, 421, 404, 200]);
    });

    test("a name that no server has gets no handshake, and neither does one whose Secret cannot be used", async () => {
      assert.equal((await ask({ ...shop("/orders/1", token), name: "other.example.org", host: SHOP })).status, 0);
      assert.equal((await ask({ ...shop("/orders/1", token), name: "broken.example.org" })).status, 0);
      assert.match(log, /Secret `edge\/broken-cert` cannot be used: `tls.key` is not the key of the first certificate in `tls.crt`/);
    });

    test("a server that asks for client certificates takes those of its CA and no others", async () => {
      assert.equal((await ask(partners(partner))).status, 200);
      const refused = [
        undefined,
        strangers.issue("partner.example.org"),
        revoked,
        clients.issue("partner.example.org", [-7_200_000, -3_600_000]),
      ];
      assert.deepEqual(await Promise.all(refused.map(async (certificate) => (await ask(partners(certificate))).status)), [0, 0, 0, 0]);
    });

    test("a client certificate of outsiders is no identity of the mesh, whatever name it has", async () => {
      place.write("edge.yaml", edgePolicy("targetRefs", jwks).replace(/ {4}- to:.*partners.*\n/, ""));
      const impostor = clients.issue("spiffe://cluster.local/ns/shop/sa/client");
      await until("the partners' rule is gone", async () => (await ask(partners(partner))).status === 403);
      assert.equal((await ask(partners(impostor))).status, 403);
      place.write("edge.yaml", edgePolicy("targetRefs", jwks));
      await until("it is back", async () => (await ask(partners(partner))).status === 200);
    });

    test("plaintext is sent on to https", async () => {
      const answer = await fetch(`http://127.0.0.1:${ports.http}/orders/1?a=b`, { redirect: "manual", headers: token });
      assert.deepEqual([answer.status, answer.headers.get("location")], [301, `https://127.0.0.1:${ports.http}/orders/1?a=b`]);
    });

    test("a policy by selector holds as one by targetRefs", async () => {
      place.write("edge.yaml", edgePolicy("selector", jwks).replace("/orders/secret", "/orders/2"));
      await until("the other path is denied", async () => (await ask(shop("/orders/2", token))).status === 403);
      assert.equal((await ask(shop("/orders/secret", token))).status, 200);
      assert.equal((await ask(shop("/orders/1"))).status, 403);
    });

    test("with a trusted proxy in front, the client is the one that it names, and no other", async () => {
      const blocked = '  action: DENY\n  rules: [{ from: [{ source: { remoteIpBlocks: ["192.0.2.7"] } }] }]\n';
      place.write(
        "blocked.yaml",
        `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: blocked, namespace: edge }\nspec:\n${blocked}`,
      );
      const from = async (addresses: string): Promise<number> =>
        (await ask(shop("/orders/1", { ...token, "x-forwarded-for": addresses }))).status;
      assert.equal(await from("192.0.2.7"), 200);
      place.write("edge-workload.yaml", edgeWorkload(1));
      await until("the header is believed", async () => (await from("192.0.2.7")) === 403);
      assert.deepEqual(await Promise.all(["192.0.2.7, 192.0.2.8", "192.0.2.8, 192.0.2.7", "nonsense"].map(from)), [200, 403, 200]);
      place.write("edge-workload.yaml", edgeWorkload(0));
      await until("it is not believed any more", async () => (await from("192.0.2.7")) === 200);
      place.remove("blocked.yaml");
    });

    test("another workload's proxy does not get the gateway's secrets (CVE-2021-34824)", async () => {
      const { stdout } = await place.run("token", "shop/client");
      const material = await enrol(place.controlPlane(), "spiffe://cluster.local/ns/shop/sa/client", stdout.trim());
      const request = { typeUrl: SECRET, names: ["edge/shop-cert/certificate"], proxy: "envoy" };
      assert.deepEqual(await openAds(place.controlPlane(), "shop/client", request, material), { code: "OK", answer: [] });
      const refused = await openAds(place.controlPlane(), "edge/ingress", request, material);
      assert.equal(refused.code, "PERMISSION_DENIED");
    });

    test("a renewed certificate is for new connections, and a bad one leaves the last good one in force", async () => {
      const renewed = ca.issue(SHOP);
      place.write("shop-cert.yaml", tlsSecret("shop-cert", renewed));
      await until("the new one is served", async () => (await ask(shop("/orders/1", token))).server.trim() === renewed.cert.trim());
      place.write("shop-cert.yaml", secret("shop-cert", { "tls.crt": ca.issue(SHOP).cert, "tls.key": renewed.key }));
      await place.untilStatus("the bad one is told", ({ diagnostics }) =>
        diagnostics.some(({ text }) => /Secret `edge\/shop-cert` cannot be used/.test(text)),
      );
      assert.equal((await ask(shop("/orders/1", token))).server.trim(), renewed.cert.trim());
    });

    test("a proxy in the middle asks who calls, and the service behind sees the middle", async () => {
      const { status, body } = await askMiddle(ports.outbound, "/anything", "GET");
      assert.equal(status, 200, body);
      const { headers } = JSON.parse(body) as Seen;
      assert.match(String(headers["x-forwarded-client-cert"]), /URI=spiffe:\/\/cluster\.local\/ns\/middle\/sa\/proxy$/);
      // The middle lets it pass, and the service behind takes only GET from it.
      const inner = await askMiddle(ports.outbound, "/anything", "POST");
      const own = await askMiddle(ports.outbound, "/anything", "DELETE");
      assert.deepEqual([inner.status, own.status], [403, 403]);
      // Both proxies tell the rule, and a gateway keeps to itself what those within say of theirs.
      assert.deepEqual([inner.deniedBy, own.deniedBy], [undefined, "default"]);
      assert.equal((await ask({ port: ports.middle, path: "/", ca: ca.root, name: SHOP, certificate: partner })).status, 0);
    });

    test("the record has who came through the gateway, and nobody can read a key anywhere", async () => {
      await until("the decisions are recorded", async () => {
        const { stdout } = await place.run("audit", "--limit", "500");
        return [
          / ALLOW +\(127\.0\.0\.1\) +-> shop\/orders +GET \/orders\/1 200 by edge\/known\[0\]/,
          / DENY +\(127\.0\.0\.1\) +-> edge\/ingress +GET \/orders\/secret 403 by edge\/closed\[0\]/,
          / ALLOW +edge\/ingress +-> shop\/orders +GET \/orders\/1 200 by shop\/orders\[0\]/,
          / ALLOW +shop\/client +-> shop\/orders +GET \/anything 200 by middle\/middle\[0\]/,
          / DENY +shop\/client +-> middle\/proxy +DELETE \/anything 403 by default/,
          / ALLOW +middle\/proxy +-> shop\/orders +GET \/anything 200 by shop\/orders\[1\]/,
          / REFUSED +\(127\.0\.0\.1\) +-> edge\/ingress .*no server has the name that the client asks for/,
        ].every((line) => line.test(stdout));
      });
      const shown = await Promise.all([
        place.run("audit"),
        place.run("status", "--json"),
        place.run("authz", "explain", "edge/ingress", "--json"),
      ]);
      for (const { stdout, stderr } of shown) assert.doesNotMatch(stdout + stderr, /PRIVATE KEY/);
      assert.doesNotMatch(log, /PRIVATE KEY/);
    });
  });
}
