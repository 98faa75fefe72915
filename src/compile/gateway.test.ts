import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { meshOf } from "../../test/fixture/yaml-mesh.ts";
import type { CompiledMesh } from "./compile.ts";
import type { GatewayListener, GatewayRoute } from "./gateway-policy.ts";
import { gatewaySecrets } from "./gateway-secrets.ts";

const PEM = '"-----BEGIN CERTIFICATE-----"';
const KEY = '"-----BEGIN PRIVATE KEY-----"';

function secret(name: string, more = ""): string {
  return `apiVersion: v1\nkind: Secret\nmetadata: { name: ${name} }\nstringData: { tls.crt: ${PEM}, tls.key: ${KEY}${more} }\n`;
}

const WORKLOADS = `
apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: edge }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: front, namespace: edge }
spec: { address: 10.0.0.1, serviceAccount: web, labels: { app: front } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: web, namespace: shop }
spec: { address: 10.0.0.2, serviceAccount: web, labels: { app: web } }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { selector: { app: web }, ports: [{ name: http, port: 80, targetPort: 8080 }, { name: http-admin, port: 81 }] }
`;

interface Server {
  readonly port?: number;
  readonly hosts: readonly string[];
  readonly tls?: string;
}

function gateway(name: string, servers: readonly Server[], selector = "{ app: front }", namespace = "edge"): string {
  const lines = servers.map(({ port = 443, hosts, tls }) => {
    const isTls = tls !== undefined && !tls.includes("httpsRedirect");
    const settings = tls === undefined ? "" : `, tls: ${tls}`;
    return `    - { port: { number: ${port}, protocol: ${isTls ? "HTTPS" : "HTTP"} }, hosts: ${JSON.stringify(hosts)}${settings} }\n`;
  });
  return `---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec:\n  selector: ${selector}\n  servers:\n${lines.join("")}`;
}

function routes(name: string, hosts: readonly string[], http: string, namespace = "edge", gateways = "[edge/public]"): string {
  return `---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: { hosts: ${JSON.stringify(hosts)}, gateways: ${gateways}, http: [${http}] }\n`;
}

const TO_WEB = "{ route: [{ destination: { host: web.shop.svc.cluster.local, port: { number: 80 } } }] }";
const SIMPLE = "{ mode: SIMPLE, credentialName: cert }";
const MESH = "{ mode: ISTIO_MUTUAL }";
const CERT = `---\n${secret("cert").replace("name: cert", "name: cert, namespace: edge")}`;

function compile(...parts: readonly string[]): CompiledMesh {
  return meshOf([WORKLOADS, ...parts].join(""));
}

/** The listeners of the gateway's workload, or of another. */
function listenersOf(mesh: CompiledMesh, workload = "edge/front"): readonly GatewayListener[] {
  return mesh.policies.get(workload)?.gateway?.listeners ?? [];
}

/** Each host with what becomes of its requests, in a line for each route. */
function summary(listeners: readonly GatewayListener[]): readonly string[] {
  const route = ({ match, action }: GatewayRoute): string =>
    `${match.path === undefined ? "*" : `${match.path.kind} ${match.path.value}`} -> ${action.kind === "forward" ? action.service : action.kind}`;
  return listeners.flatMap(({ port, servers }) =>
    servers.flatMap(({ name, hosts }) => hosts.map(({ host, routes: each }) => `${port} ${name} ${host}: ${each.map(route).join(", ")}`)),
  );
}

function told({ diagnostics }: CompiledMesh): readonly string[] {
  return diagnostics.map(({ code, message }) => `${code} ${message}`);
}

describe("what a gateway is", () => {
  test("a workload that a Gateway selects has its servers, and no listener of a Sidecar or a Service", () => {
    const mesh = compile(
      gateway("public", [{ port: 80, hosts: ["*"] }]),
      "---\napiVersion: v1\nkind: Service\nmetadata: { name: front, namespace: edge }\nspec: { selector: { app: front }, ports: [{ port: 8081 }] }\n",
    );
    const policy = mesh.policies.get("edge/front");
    assert.deepEqual([policy?.inbound, policy?.outbound], [[], []]);
    assert.deepEqual(
      listenersOf(mesh).map(({ name, bind, port }) => [name, bind, port]),
      [["gateway_10.0.0.1_80", "10.0.0.1", 80]],
    );
    assert.equal(mesh.policies.get("shop/web")?.gateway, undefined);
  });

  test("a Gateway of another namespace selects only workloads that are declared to be gateways", () => {
    const other = gateway("other", [{ port: 80, hosts: ["*"] }], "{ app: front }", "shop");
    const refused = compile(other);
    assert.deepEqual(listenersOf(refused), []);
    assert.deepEqual(
      told(refused).filter((line) => line.startsWith("GAR0103")),
      ["GAR0103 the selector of Gateway `shop/other` selects no workload"],
    );
    const declared = WORKLOADS.replace(
      "{ name: front, namespace: edge }",
      '{ name: front, namespace: edge, annotations: { inject.istio.io/templates: "gateway" } }',
    );
    assert.equal(listenersOf(meshOf(declared + other)).length, 1);
  });

  test("a server's port is that of the Service in front, which leads to the port that is listened on", () => {
    const front =
      "---\napiVersion: v1\nkind: Service\nmetadata: { name: front, namespace: edge }\nspec: { selector: { app: front }, ports: [{ port: 80, targetPort: 8080 }] }\n";
    const mesh = compile(
      front,
      gateway("public", [
        { port: 80, hosts: ["*"] },
        { port: 81, hosts: ["*"] },
      ]),
    );
    assert.deepEqual(
      listenersOf(mesh).map(({ port }) => port),
      [8080, 81],
    );
  });

  test("clients of the mesh come by mutual TLS where a server asks for it, and in plaintext elsewhere", () => {
    const service = (port: number) =>
      `---\napiVersion: v1\nkind: Service\nmetadata: { name: front-${port}, namespace: edge }\nspec: { selector: { app: front }, ports: [{ name: http, port: ${port} }] }\n`;
    const sidecar = (port: number) => `{ port: { number: ${port}, protocol: HTTP }, hosts: [edge/front-${port}.edge.svc.cluster.local] }`;
    const egress = `---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: { name: web, namespace: shop }\nspec: { egress: [${sidecar(15443)}, ${sidecar(81)}] }\n`;
    const mesh = compile(
      service(15443),
      service(81),
      egress,
      gateway("public", [
        { port: 15443, hosts: ["*"], tls: MESH },
        { port: 81, hosts: ["*"] },
      ]),
    );
    const endpoints = mesh.policies.get("shop/web")?.outbound.flatMap(({ services }) => services.flatMap((each) => each.endpoints));
    assert.deepEqual(
      endpoints?.map(({ port, mtls }) => [port, mtls]),
      [
        [15443, true],
        [81, false],
      ],
    );
  });
});

describe("the servers of a port", () => {
  test("those in plaintext are one, and so are those of the mesh; those for outsiders stay apart", () => {
    const mesh = compile(
      CERT,
      gateway("public", [
        { port: 80, hosts: ["a.example.org"] },
        { port: 80, hosts: ["b.example.org"] },
        { hosts: ["c.example.org"], tls: SIMPLE },
        { hosts: ["d.example.org"], tls: MESH },
        { hosts: ["*"], tls: SIMPLE },
        { hosts: ["e.example.org"], tls: MESH },
      ]),
    );
    assert.deepEqual(
      listenersOf(mesh).map(({ port, servers }) => [port, servers.map(({ security, serverNames }) => [security.kind, serverNames])]),
      [
        [80, [["plaintext", []]]],
        [
          443,
          [
            ["outside", ["c.example.org"]],
            ["outside", []],
            ["mesh", []],
          ],
        ],
      ],
    );
  });

  test("a port is plaintext or TLS, as the oldest says, and a name is of one server", () => {
    const mesh = compile(
      CERT,
      gateway("public", [
        { hosts: ["a.example.org", "b.example.org"], tls: SIMPLE },
        { hosts: ["b.example.org", "c.example.org"], tls: SIMPLE },
        { hosts: ["a.example.org"], tls: SIMPLE },
        { hosts: ["*"] },
      ]),
    );
    assert.deepEqual(
      listenersOf(mesh).flatMap(({ servers }) => servers.map(({ serverNames }) => serverNames)),
      [["a.example.org", "b.example.org"], ["c.example.org"]],
    );
    assert.deepEqual(
      told(mesh).filter((line) => line.startsWith("GAR0104")),
      [
        "GAR0104 server `443` of Gateway `edge/public` stays closed: port 443 is TLS by server `443` of Gateway `edge/public`",
        "GAR0104 server `443` of Gateway `edge/public` does not get `b.example.org`, which another server on port 443 has",
        "GAR0104 server `443` of Gateway `edge/public` does not get `a.example.org`, which another server on port 443 has",
      ],
    );
  });

  test("a server without its Secret stays closed, and the others serve", () => {
    const servers = [
      { hosts: ["a.example.org"], tls: "{ mode: SIMPLE, credentialName: none }" },
      { hosts: ["b.example.org"], tls: SIMPLE },
    ];
    const mesh = compile(CERT, gateway("public", servers));
    assert.deepEqual(
      listenersOf(mesh).flatMap(({ servers: each }) => each.map(({ serverNames }) => serverNames)),
      [["b.example.org"]],
    );
    assert.deepEqual(
      told(mesh).filter((line) => line.startsWith("GAR0102")),
      ["GAR0102 server `443` of Gateway `edge/public` stays closed: there is no usable Secret `edge/none` with `tls.crt` and `tls.key`"],
    );
  });

  test("the CA of clients is in a Secret of its own, or in that of the server; another namespace's Secret is none", () => {
    const tls = (name: string) => `{ mode: MUTUAL, credentialName: ${name} }`;
    const apart = `---\napiVersion: v1\nkind: Secret\nmetadata: { name: one-cacert, namespace: edge }\nstringData: { ca.crt: ${PEM} }\n`;
    const own = `---\n${secret("two", `, cacert: ${PEM}`).replace("name: two", "name: two, namespace: edge")}`;
    const one = `---\n${secret("one").replace("name: one", "name: one, namespace: edge")}`;
    const far = `---\n${secret("far", `, ca.crt: ${PEM}`).replace("name: far", "name: far, namespace: shop")}`;
    const mesh = compile(
      apart,
      own,
      one,
      far,
      gateway(
        "public",
        ["one", "two", "far"].map((name) => ({ hosts: [`${name}.example.org`], tls: tls(name) })),
      ),
    );
    const cas = listenersOf(mesh).flatMap(({ servers }) =>
      servers.map(({ security }) => (security.kind === "outside" ? security.clients?.ca : undefined)),
    );
    assert.deepEqual(cas, ["edge/one-cacert/ca", "edge/two/ca"]);
  });

  test("a workload gets the secrets that its servers name and no others, and its policy holds none of them", () => {
    const other = `---\n${secret("other").replace("name: other", "name: other, namespace: edge")}`;
    const mesh = compile(CERT, other, gateway("public", [{ hosts: ["a.example.org"], tls: SIMPLE }]));
    const policy = mesh.policies.get("edge/front");
    const web = mesh.policies.get("shop/web");
    assert.ok(policy !== undefined && web !== undefined);
    assert.deepEqual(
      gatewaySecrets(mesh.snapshot, policy).map(({ name }) => name),
      ["edge/cert/certificate"],
    );
    assert.deepEqual(gatewaySecrets(mesh.snapshot, web), []);
    assert.doesNotMatch(JSON.stringify([...mesh.policies]), /BEGIN/);
  });
});

describe("the routes of a server", () => {
  test("a route is for the hosts that its VirtualService and the server share", () => {
    const mesh = compile(
      gateway("public", [{ port: 80, hosts: ["*.example.org", "exact.com"] }]),
      routes("r", ["a.example.org", "*.sub.example.org", "*.com", "other.net"], TO_WEB),
    );
    assert.deepEqual(summary(listenersOf(mesh)), [
      "80 edge/public[0] a.example.org: * -> web.shop.svc.cluster.local:80",
      "80 edge/public[0] *.sub.example.org: * -> web.shop.svc.cluster.local:80",
      "80 edge/public[0] exact.com: * -> web.shop.svc.cluster.local:80",
    ]);
  });

  test("a server says whose routes it takes", () => {
    const hosts = ["./own.example.org", "shop/shop.example.org", "*/any.example.org"];
    const all = ["own.example.org", "shop.example.org", "any.example.org"];
    const mesh = compile(gateway("public", [{ port: 80, hosts }]), routes("r", all, TO_WEB, "shop"));
    assert.deepEqual(
      summary(listenersOf(mesh)).map((line) => line.split(" ")[2]),
      ["shop.example.org:", "any.example.org:"],
    );
  });

  test("routes for one host come one after the other, those for everything last, and redirects stand alone", () => {
    const first = routes(
      "a",
      ["a.example.org"],
      `${TO_WEB}, { match: [{ uri: { prefix: /x } }], route: [{ destination: { host: none } }] }`,
    );
    const second = routes(
      "b",
      ["a.example.org"],
      `{ match: [{ uri: { exact: /y } }], route: [{ destination: { host: web.shop.svc.cluster.local, port: { number: 81 } } }] }`,
    );
    const servers = [
      { port: 80, hosts: ["a.example.org"] },
      { port: 81, hosts: ["*"], tls: "{ httpsRedirect: true }" },
    ];
    const mesh = compile(gateway("public", servers), first, second);
    assert.deepEqual(summary(listenersOf(mesh)), [
      "80 edge/public[0] a.example.org: prefix /x -> unavailable, exact /y -> web.shop.svc.cluster.local:81, * -> web.shop.svc.cluster.local:80",
      "81 edge/public[1] *: * -> https",
    ]);
    assert.deepEqual(
      told(mesh).filter((line) => line.startsWith("GAR0102")),
      ["GAR0102 a route of VirtualService `edge/a` leads to `none`, which is no port of a service: its requests get 503"],
    );
  });

  test("a match may be for one port, or one gateway", () => {
    const http =
      "{ match: [{ port: 80, uri: { exact: /p } }, { gateways: [other], uri: { exact: /o } }, { gateways: [public], uri: { exact: /g } }], route: [{ destination: { host: none } }] }";
    const mesh = compile(
      gateway("public", [
        { port: 80, hosts: ["*"] },
        { port: 81, hosts: ["*"] },
      ]),
      routes("r", ["a.example.org"], http),
    );
    assert.deepEqual(summary(listenersOf(mesh)), [
      "80 edge/public[0] a.example.org: exact /p -> unavailable, exact /g -> unavailable",
      "81 edge/public[1] a.example.org: exact /g -> unavailable",
    ]);
  });

  test("a host is of the server with the most specific name: at the others of the port it is misdirected, closed or not", () => {
    const servers = [
      { hosts: ["a.example.org"], tls: SIMPLE },
      { hosts: ["*.example.org"], tls: SIMPLE },
      { hosts: ["m.example.org"], tls: MESH },
      { hosts: ["c.example.org"], tls: "{ mode: SIMPLE, credentialName: none }" },
    ];
    const mesh = compile(CERT, gateway("public", servers), routes("r", ["a.example.org", "b.example.org", "c.example.org"], TO_WEB));
    assert.deepEqual(summary(listenersOf(mesh)), [
      "443 edge/public[0] a.example.org: * -> web.shop.svc.cluster.local:80",
      "443 edge/public[0] *.example.org: * -> misdirected",
      "443 edge/public[0] c.example.org: * -> misdirected",
      "443 edge/public[1] b.example.org: * -> web.shop.svc.cluster.local:80",
      "443 edge/public[1] a.example.org: * -> misdirected",
      "443 edge/public[1] c.example.org: * -> misdirected",
    ]);
  });

  test("a VirtualService that leads nowhere is told", () => {
    const mesh = compile(
      gateway("public", [{ port: 80, hosts: ["a.example.org"] }]),
      routes("far", ["b.example.org"], TO_WEB),
      routes("lost", ["a.example.org"], TO_WEB, "edge", "[none]"),
    );
    assert.deepEqual(
      told(mesh).filter((line) => /VirtualService/.test(line)),
      [
        "GAR0301 VirtualService `edge/far` has no host that its Gateways serve",
        "GAR0102 VirtualService `edge/lost` names Gateway `edge/none`, which does not exist",
      ],
    );
  });
});
