import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { meshOf } from "../../../test/fixture/yaml-mesh.ts";
import type { CapturePolicy } from "../workload-policy.ts";

const AT = { client: "10.0.0.1", pay: "10.0.0.2", vault: "10.0.0.3" } as const;

function account(key: string, address: string, annotations = "{}"): string {
  const [namespace = "", name = ""] = key.split("/");
  return `---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: ${namespace}, annotations: ${annotations} }
spec: { address: "${address}", serviceAccount: ${name}, labels: { app: ${name} } }
`;
}

function object(apiVersion: string, kind: string, key: string, spec: string): string {
  const [namespace, name] = key.split("/");
  return `---\napiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: ${spec}\n`;
}

const service = (key: string, spec: string) => object("v1", "Service", key, spec);
const entry = (key: string, spec: string) => object("networking.istio.io/v1", "ServiceEntry", key, spec);
const sidecar = (key: string, spec: string) => object("networking.istio.io/v1", "Sidecar", key, spec);
const peers = (key: string, spec: string) => object("security.istio.io/v1", "PeerAuthentication", key, spec);

const CAPTURED = "{ sidecar.istio.io/interceptionMode: REDIRECT }";
const CLIENT = account("shop/client", AT.client, CAPTURED);
const BASE =
  CLIENT +
  account("shop/pay", AT.pay) +
  account("bank/vault", AT.vault) +
  service("shop/pay", "{ clusterIP: 10.96.0.2, selector: { app: pay }, ports: [{ name: http, port: 80, targetPort: 8080 }] }") +
  service("bank/vault", "{ clusterIP: None, selector: { app: vault }, ports: [{ name: tcp, port: 5432 }] }");

function captureOf(yaml: string): { readonly capture: CapturePolicy | undefined; readonly told: readonly string[] } {
  const { policies, diagnostics } = meshOf(yaml);
  const told = diagnostics.filter(({ code }) => code.startsWith("GAR023")).map(({ code, message }) => `${code} ${message}`);
  return { capture: policies.get("shop/client")?.capture, told };
}

function servicesOf(yaml: string): readonly string[] {
  const { capture } = captureOf(yaml);
  return capture?.services.map(({ addresses, upstream }) => `${addresses.join("+")} ${upstream.host}:${upstream.port}`) ?? [];
}

/** `ADDRESSES[:PORT] TRANSPORT`. */
function peersOf(yaml: string): readonly string[] {
  const { capture } = captureOf(yaml);
  return (
    capture?.peers.map(({ addresses, port, transport }) => {
      const who =
        transport.kind === "mtls"
          ? transport.identities.map((identity) => identity.split("/").slice(2).join("/")).join("|")
          : transport.kind;
      return `${addresses.join("+")}${port === undefined ? "" : `:${port}`} ${who}`;
    }) ?? []
  );
}

describe("which workloads are captured", () => {
  const mode = (annotation: string, mesh = "") => {
    const config =
      mesh === ""
        ? ""
        : `---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata: { mesh: "${mesh}" }\n`;
    return captureOf(account("shop/client", AT.client, annotation) + config).capture !== undefined;
  };

  it("is said by the annotation, else by the proxy's configuration, else by the mesh's, and else none is", () => {
    const redirect = "{ proxy.istio.io/config: 'interceptionMode: REDIRECT' }";
    const mesh = "defaultConfig: { interceptionMode: REDIRECT }";
    assert.deepEqual(
      [mode("{}"), mode(CAPTURED), mode(redirect), mode("{}", mesh), mode("{ proxy.istio.io/config: 'interceptionMode: NONE' }", mesh)],
      [false, true, true, true, false],
    );
    const both = "{ sidecar.istio.io/interceptionMode: NONE, proxy.istio.io/config: 'interceptionMode: REDIRECT' }";
    assert.deepEqual([mode(both), mode("{ sidecar.istio.io/interceptionMode: TPROXY }")], [false, false]);
  });

  it("is refused for an address that nothing redirects, and for gateways", () => {
    const local = captureOf(account("shop/client", "127.0.0.1", CAPTURED));
    assert.deepEqual(
      [local.capture, local.told],
      [undefined, ["GAR0231 workload `shop/client` cannot be captured: its address is 127.0.0.1"]],
    );
    const gateway = object(
      "networking.istio.io/v1",
      "Gateway",
      "shop/g",
      "{ selector: { app: client }, servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: [a.example] }] }",
    );
    const edge = captureOf(CLIENT + gateway);
    assert.deepEqual(
      [edge.capture, edge.told],
      [undefined, ["GAR0231 workload `shop/client` is a gateway, and a gateway's traffic is not captured"]],
    );
  });

  it("takes an application for one that listens on its own address, where it is captured", () => {
    const { policies } = meshOf(
      BASE + service("shop/client", "{ selector: { app: client }, ports: [{ name: http, port: 80, targetPort: 8080 }] }"),
    );
    assert.deepEqual(
      policies.get("shop/client")?.inbound.map(({ endpoint }) => endpoint),
      [{ kind: "tcp", host: AT.client, port: 8080 }],
    );
    assert.deepEqual(
      policies.get("shop/pay")?.inbound.map(({ endpoint }) => endpoint),
      [{ kind: "tcp", host: "127.0.0.1", port: 8080 }],
    );
  });
});

describe("the services that captured traffic is for", () => {
  it("are told by their addresses; headless ones by their pods alone", () => {
    assert.deepEqual(servicesOf(BASE), ["10.96.0.2 pay.shop.svc.cluster.local:80"]);
  });

  it("are told by blocks, and entries without an address by their names", () => {
    const blocks = entry(
      "shop/net",
      "{ hosts: [net.example.com], addresses: [10.200.0.0/16, 10.201.0.1], resolution: DNS, ports: [{ number: 25, name: tcp }] }",
    );
    const named = entry("shop/api", "{ hosts: [api.example.com], resolution: DNS, ports: [{ number: 443, name: tls }] }");
    assert.deepEqual(servicesOf(CLIENT + blocks + named), [" api.example.com:443", "10.200.0.0/16+10.201.0.1 net.example.com:25"]);
  });

  it("are one at each address and port, and the other is told", () => {
    const other = service(
      "shop/zay",
      "{ clusterIP: 10.96.0.2, selector: { app: pay }, ports: [{ name: http, port: 80 }, { name: tcp, port: 81 }] }",
    );
    assert.deepEqual(servicesOf(BASE + other), ["10.96.0.2 pay.shop.svc.cluster.local:80", "10.96.0.2 zay.shop.svc.cluster.local:81"]);
    assert.deepEqual(captureOf(BASE + other).told, [
      "GAR0232 captured traffic to 10.96.0.2:80 is for `shop/pay`, and so never for `shop/zay`",
    ]);
  });

  it("leave out a Service that selects nothing and of which nobody says where it is", () => {
    assert.deepEqual(servicesOf(CLIENT + service("shop/kubernetes", "{ clusterIP: 10.96.0.1, ports: [{ name: https, port: 443 }] }")), []);
  });

  it("are those that a Sidecar names, by port where it names one", () => {
    const named = (egress: string) => servicesOf(BASE + sidecar("shop/default", `{ egress: [${egress}] }`));
    assert.deepEqual(named('{ hosts: ["bank/*"] }'), []);
    assert.deepEqual(named('{ hosts: ["./*"] }'), ["10.96.0.2 pay.shop.svc.cluster.local:80"]);
    assert.deepEqual(named('{ port: { number: 80, name: http }, hosts: ["bank/*"] }, { hosts: ["./*"] }'), []);
    // Bound, so that it is a listener, and captured traffic knows nothing.
    assert.deepEqual(named('{ port: { number: 80, name: http }, bind: 127.0.0.1, hosts: ["./*"] }'), []);
  });

  it("are no listeners where captured traffic is meant, and a Sidecar's scope is told where nothing is captured", () => {
    const scope = sidecar(
      "shop/default",
      '{ outboundTrafficPolicy: { mode: REGISTRY_ONLY }, egress: [{ port: { number: 80, name: http }, hosts: ["./*"] }, { hosts: ["./*"] }] }',
    );
    const { policies } = meshOf(BASE + scope);
    assert.deepEqual(policies.get("shop/client")?.outbound, []);
    assert.equal(policies.get("shop/client")?.capture?.unknown, "REGISTRY_ONLY");
    assert.equal(policies.get("shop/pay")?.outbound.length, 1);
    assert.deepEqual(
      captureOf(BASE + scope).told.map((text) => text.slice(0, 40)),
      ["GAR0230 an egress listener without a `po", "GAR0230 `outboundTrafficPolicy` is for c"],
    );
  });
});

describe("workloads that are called by their own addresses", () => {
  it("must prove their own identity, by every name of the trust domain", () => {
    assert.deepEqual(peersOf(BASE), [
      `${AT.vault} cluster.local/ns/bank/sa/vault`,
      `${AT.client} cluster.local/ns/shop/sa/client`,
      `${AT.pay} cluster.local/ns/shop/sa/pay`,
    ]);
    const mesh =
      '---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata: { mesh: "trustDomainAliases: [old.example]" }\n';
    assert.ok(peersOf(BASE + mesh).includes(`${AT.pay} cluster.local/ns/shop/sa/pay|old.example/ns/shop/sa/pay`));
  });

  it("are spoken to in plaintext where they take nothing else, at the ports where that is so", () => {
    const modes = peers(
      "shop/pay",
      "{ selector: { matchLabels: { app: pay } }, portLevelMtls: { 9090: { mode: DISABLE }, 9091: { mode: STRICT } } }",
    );
    assert.deepEqual(
      peersOf(BASE + modes).filter((text) => text.startsWith(AT.pay)),
      [`${AT.pay} cluster.local/ns/shop/sa/pay`, `${AT.pay}:9090 plaintext`],
    );
    const off = peers("bank/default", "{ mtls: { mode: DISABLE } }");
    assert.ok(peersOf(BASE + off).includes(`${AT.vault} plaintext`));
  });

  it("are told by the ports of their services where several share an address, and are nobody where those are shared too", () => {
    const twin =
      account("shop/twin", AT.pay) +
      service("shop/twin", "{ selector: { app: twin }, ports: [{ name: http, port: 80, targetPort: 9000 }] }");
    const both = peersOf(BASE + twin).filter((text) => text.startsWith(AT.pay));
    assert.deepEqual(both, [`${AT.pay}:8080 cluster.local/ns/shop/sa/pay`, `${AT.pay}:9000 cluster.local/ns/shop/sa/twin`]);
    const same = twin.replace("targetPort: 9000", "targetPort: 8080");
    assert.deepEqual(
      peersOf(BASE + same).filter((text) => text.startsWith(AT.pay)),
      [`${AT.pay}:8080 nobody`],
    );
  });

  it("are those of the services that a Sidecar names, and of entries that say who is there", () => {
    const named = sidecar("shop/default", '{ egress: [{ hosts: ["./*"] }] }');
    assert.deepEqual(peersOf(BASE + named), [`${AT.pay} cluster.local/ns/shop/sa/pay`]);
    const inline = entry(
      "shop/db",
      "{ hosts: [db.shop.internal], location: MESH_INTERNAL, resolution: STATIC, ports: [{ number: 5432, name: tcp }], endpoints: [{ address: 10.0.0.7, serviceAccount: db }] }",
    );
    assert.ok(peersOf(BASE + inline).includes("10.0.0.7:5432 cluster.local/ns/shop/sa/db"));
  });
});

describe("ports that no service declares", () => {
  it("have the workload's mode, or their own", () => {
    const modes = peers(
      "shop/client",
      "{ selector: { matchLabels: { app: client } }, mtls: { mode: STRICT }, portLevelMtls: { 9090: { mode: DISABLE } } }",
    );
    assert.deepEqual(captureOf(BASE + modes).capture?.otherPorts, { mtls: "STRICT", ports: [{ port: 9090, mtls: "DISABLE" }] });
    assert.deepEqual(captureOf(BASE).capture?.otherPorts, { mtls: "PERMISSIVE", ports: [] });
  });
});

describe("a port whose server speaks first", () => {
  const mysql = (port: string) => service("shop/db", `{ selector: { app: client }, ports: [${port}] }`);
  const told = (yaml: string) => meshOf(yaml).diagnostics.filter(({ code }) => code === "GAR0233");

  const ofMode = (mode: string) => peers("shop/client", `{ selector: { matchLabels: { app: client } }, mtls: { mode: ${mode} } }`);

  it("is known to its proxy, by its name, its appProtocol, or the name of a ServiceEntry's port", () => {
    const first = (yaml: string) =>
      meshOf(CLIENT + yaml)
        .policies.get("shop/client")
        ?.inbound.map(({ port, serverFirst = false }) => [port, serverFirst]);
    assert.deepEqual(first(mysql("{ name: mysql, port: 3306 }")), [[3306, true]]);
    assert.deepEqual(first(mysql("{ name: db, port: 25, appProtocol: smtp }")), [[25, true]]);
    assert.deepEqual(first(mysql("{ name: tcp-db, port: 3306 }")), [[3306, false]]);
    const entry = (port: string) =>
      object(
        "networking.istio.io/v1",
        "ServiceEntry",
        "shop/entry",
        `{ hosts: [db.example.org], resolution: STATIC, ports: [${port}], workloadSelector: { labels: { app: client } } }`,
      );
    assert.deepEqual(first(entry("{ number: 3306, name: db, protocol: MYSQL }")), [[3306, true]]);
    assert.deepEqual(first(entry("{ number: 3306, name: mysql-db, protocol: TCP }")), [[3306, true]]);
    assert.deepEqual(first(entry("{ number: 3306, name: mysql-db, protocol: HTTP }")), [[3306, false]]);
  });

  it("is told where it is PERMISSIVE at a captured workload, whose proxy waits for a client's first byte there", () => {
    const [warning, ...others] = told(CLIENT + mysql("{ name: mysql, port: 3306 }"));
    assert.match(warning?.message ?? "", /^at port 3306 of service `shop\/db` the server speaks first: /);
    assert.deepEqual(others, []);
  });

  it("is not told elsewhere", () => {
    for (const mode of ["STRICT", "DISABLE"]) assert.deepEqual(told(CLIENT + mysql("{ name: mysql, port: 3306 }") + ofMode(mode)), []);
    assert.deepEqual(told(CLIENT + mysql("{ name: tcp-db, port: 3306 }")), []);
    assert.deepEqual(told(account("shop/client", AT.client) + mysql("{ name: mysql, port: 3306 }")), []);
  });
});

describe("warnings of ports at which nothing listens", () => {
  it("are not for captured workloads, which are met at every port, unless a service's port is meant", () => {
    const declared = service("shop/client", "{ selector: { app: client }, ports: [{ name: http, port: 80, targetPort: 8080 }] }");
    const rule = (port: number) =>
      object(
        "security.istio.io/v1",
        "AuthorizationPolicy",
        "shop/p",
        `{ selector: { matchLabels: { app: client } }, action: DENY, rules: [{ to: [{ operation: { ports: ["${port}"] } }] }] }`,
      );
    const mode = peers("shop/m", "{ selector: { matchLabels: { app: client } }, portLevelMtls: { 9999: { mode: STRICT } } }");
    const codes = (yaml: string) =>
      meshOf(yaml)
        .diagnostics.map(({ code }) => code)
        .filter((code) => /^GAR02(10|11|14)/.test(code));
    assert.deepEqual(codes(CLIENT + declared + rule(9999) + mode), []);
    assert.deepEqual(codes(CLIENT + declared + rule(80)), ["GAR0210"]);
    assert.deepEqual(codes(account("shop/client", AT.client) + declared + rule(9999) + mode).sort(), ["GAR0210", "GAR0214"]);
  });
});
