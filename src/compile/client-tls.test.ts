import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { meshOf } from "../../test/fixture/yaml-mesh.ts";
import type { UpstreamService } from "./workload-policy.ts";

/** A client of namespace `shop` whose proxy reaches these hosts, each on a port of its own from 7000 on. */
function client(...hosts: readonly string[]): string {
  const listeners = hosts.map(
    (host, index) => `    - { port: { number: ${7000 + index}, protocol: HTTP, name: http }, hosts: ["${host}"] }`,
  );
  return `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: client, namespace: shop }
spec: { address: 127.0.0.1, serviceAccount: client, labels: { app: client } }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: client, namespace: shop }
spec:
  workloadSelector: { labels: { app: client } }
  egress:
${listeners.join("\n")}
`;
}

function object(kind: string, key: string, spec: string): string {
  const [namespace, name] = key.split("/");
  return `---\napiVersion: networking.istio.io/v1\nkind: ${kind}\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: ${spec}\n`;
}

const entry = (key: string, spec: string) => object("ServiceEntry", key, spec);
const rule = (key: string, spec: string) => object("DestinationRule", key, spec);

const API = entry("shop/api", "{ hosts: [api.example.com], resolution: DNS, ports: [{ number: 80, name: http, targetPort: 443 }] }");

function reached(yaml: string): { readonly services: readonly UpstreamService[]; readonly codes: readonly string[] } {
  const { policies, diagnostics } = meshOf(yaml);
  const services = (policies.get("shop/client")?.outbound ?? []).flatMap((listener) => listener.services);
  const codes = diagnostics.map(({ code }) => code).filter((code) => code >= "GAR0400");
  return { services, codes };
}

describe("how a client speaks to a service outside", () => {
  it("is plaintext to where DNS says, where no rule says more", () => {
    const { services } = reached(client("shop/api.example.com") + API);
    assert.deepEqual(services, [
      {
        service: "shop/api.example.com",
        host: "api.example.com",
        port: 80,
        portName: "http",
        protocol: "http",
        resolution: "DNS",
        sni: "outbound_.80_._.api.example.com",
        endpoints: [{ address: "api.example.com", port: 443, mtls: false }],
      },
    ]);
  });

  it("asks for the host's own name where neither rule nor entry names another", () => {
    const { services } = reached(
      client("shop/api.example.com") + API + rule("shop/api", "{ host: api.example.com, trafficPolicy: { tls: { mode: SIMPLE } } }"),
    );
    assert.deepEqual(services[0]?.tls, {
      sni: "api.example.com",
      verify: { names: [{ kind: "dns", value: "api.example.com" }] },
    });
  });

  it("takes files, names and the server name from the rule", () => {
    const tls =
      "{ mode: MUTUAL, sni: front.example.com, subjectAltNames: [a.example.com], caCertificates: /ca, caCrl: /crl, clientCertificate: /c, privateKey: /k }";
    const { services } = reached(
      client("shop/api.example.com") + API + rule("shop/api", `{ host: api.example.com, trafficPolicy: { tls: ${tls} } }`),
    );
    assert.deepEqual(services[0]?.tls, {
      sni: "front.example.com",
      verify: { names: [{ kind: "dns", value: "a.example.com" }], roots: "/ca", crl: "/crl" },
      certificate: { clientCertificate: "/c", privateKey: "/k" },
    });
  });

  it("names no key that another namespace picked, and is closed then", () => {
    const tls = "{ mode: MUTUAL, clientCertificate: /c, privateKey: /k }";
    const theirs = entry("bank/api", "{ hosts: [api.example.com], resolution: DNS, ports: [{ number: 80, name: http }] }");
    const by = (key: string) =>
      reached(client("bank/api.example.com") + theirs + rule(key, `{ host: api.example.com, trafficPolicy: { tls: ${tls} } }`));
    assert.deepEqual([by("bank/api").services[0]?.endpoints, by("bank/api").codes], [[], ["GAR0405"]]);
    assert.equal(by("shop/api").services[0]?.tls?.certificate?.privateKey, "/k");
    assert.equal(by("istio-system/api").services[0]?.tls?.certificate?.privateKey, "/k");
  });

  it("warns where nobody is verified", () => {
    const broken = rule("shop/api", "{ host: api.example.com, trafficPolicy: { tls: { mode: SIMPLE, insecureSkipVerify: true } } }");
    const { services, codes } = reached(client("shop/api.example.com") + API + broken);
    assert.deepEqual([services[0]?.tls?.verify, codes], ["nothing", ["GAR0403"]]);
  });

  it("has no endpoint where the rule is invalid", () => {
    for (const spec of ["{ host: api.example.com, trafficPolicy: { tls: { mode: SIMPEL } } }", "{ host: 1, trafficPolicy: {} }", "{}"]) {
      const { services } = reached(client("shop/api.example.com") + API + rule("shop/api", spec));
      assert.deepEqual([services[0]?.endpoints, services[0]?.tls], [[], undefined], spec);
    }
  });
});

describe("how a client speaks to a service of the mesh", () => {
  const internal = (more: string) =>
    entry(
      "shop/ledger",
      `{ hosts: [ledger.internal], location: MESH_INTERNAL, resolution: STATIC, ports: [{ number: 80, name: http }], ${more} }`,
    );
  const identity = (account: string) => `spiffe://cluster.local/ns/shop/sa/${account}`;

  it("is mutual TLS to the account that an endpoint names, and nothing to one of which nothing says who runs there", () => {
    const endpoints = "endpoints: [{ address: 10.0.0.1, serviceAccount: ledger }, { address: 10.0.0.2 }]";
    const { services, codes } = reached(client("shop/ledger.internal") + internal(endpoints));
    assert.deepEqual(services[0]?.endpoints, [{ address: "10.0.0.1", port: 80, mtls: true, identity: identity("ledger") }]);
    assert.deepEqual(codes, ["GAR0404"]);
  });

  it("takes the entry's names besides each endpoint's own, and a rule's instead of both", () => {
    const spec = `endpoints: [{ address: 10.0.0.1, serviceAccount: ledger }], subjectAltNames: ["${identity("old")}", ledger.internal]`;
    const base = client("shop/ledger.internal") + internal(spec);
    assert.deepEqual(reached(base).services[0]?.endpoints, [
      { address: "10.0.0.1", port: 80, mtls: true, identity: identity("ledger"), aliases: [identity("old")] },
    ]);
    const replaced = rule(
      "shop/ledger",
      `{ host: ledger.internal, trafficPolicy: { tls: { mode: ISTIO_MUTUAL, sni: other.internal, subjectAltNames: ["${identity("new")}"] } } }`,
    );
    const [service] = reached(base + replaced).services;
    assert.deepEqual(service?.endpoints, [{ address: "10.0.0.1", port: 80, mtls: true, identity: identity("new") }]);
    assert.equal(service?.sni, "other.internal");
  });

  it("speaks mutual TLS where a rule says so, though auto mTLS is off, and lets the trust domain's other names answer, but nobody of a domain without roots here", () => {
    const config = `---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata:\n  mesh: |\n    enableAutoMtls: false\n    trustDomainAliases: [old.example]\n`;
    const base = client("shop/ledger.internal") + internal("endpoints: [{ address: 10.0.0.1, serviceAccount: ledger }]") + config;
    assert.deepEqual(
      reached(base).services[0]?.endpoints.map(({ mtls }) => mtls),
      [false],
    );
    const names = `["${identity("new")}", "spiffe://elsewhere.example/x"]`;
    const demanded = rule("shop/x", `{ host: ledger.internal, trafficPolicy: { tls: { mode: ISTIO_MUTUAL, subjectAltNames: ${names} } } }`);
    assert.deepEqual(reached(base + demanded).services[0]?.endpoints, [
      {
        address: "10.0.0.1",
        port: 80,
        mtls: true,
        identity: identity("new"),
        aliases: ["spiffe://old.example/ns/shop/sa/new"],
      },
    ]);
  });

  it("finds workloads by an entry's labels, and they listen for it", () => {
    const ledger = object("WorkloadEntry", "shop/ledger", "{ address: 10.0.0.9, serviceAccount: ledger, labels: { app: ledger } }");
    const mesh = meshOf(client("shop/ledger.internal") + internal("workloadSelector: { labels: { app: ledger } }") + ledger);
    const [listener] = mesh.policies.get("shop/client")?.outbound ?? [];
    assert.deepEqual(listener?.services[0]?.endpoints, [{ address: "10.0.0.9", port: 80, mtls: true, identity: identity("ledger") }]);
    const [inbound] = mesh.policies.get("shop/ledger")?.inbound ?? [];
    assert.deepEqual([inbound?.bind, inbound?.port, inbound?.services], ["10.0.0.9", 80, ["shop/ledger.internal"]]);
  });

  it("tells of an entry whose labels no workload has, and of a rule for nobody", () => {
    const { diagnostics } = meshOf(internal("workloadSelector: { labels: { app: nobody } }") + rule("shop/x", "{ host: ledger }"));
    assert.deepEqual(
      diagnostics.map(({ code }) => code),
      ["GAR0101", "GAR0401"],
    );
  });

  it("warns once of calls that every client's proxy would make in vain", () => {
    const strict = `---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: default, namespace: shop }\nspec: { mtls: { mode: STRICT } }\n`;
    const ledger = object("WorkloadEntry", "shop/ledger", "{ address: 10.0.0.9, serviceAccount: ledger, labels: { app: ledger } }");
    const second = client("shop/ledger.internal").replaceAll("client", "second");
    const base = `${client("shop/ledger.internal")}---${second}${internal("workloadSelector: { labels: { app: ledger } }")}${ledger}${strict}`;
    for (const mode of ["DISABLE", "SIMPLE"])
      assert.deepEqual(reached(`${base}${rule("shop/x", `{ host: ledger.internal, trafficPolicy: { tls: { mode: ${mode} } } }`)}`).codes, [
        "GAR0402",
      ]);
    const mutual = "{ mode: MUTUAL, clientCertificate: /c, privateKey: /k }";
    assert.deepEqual(reached(`${base}${rule("shop/x", `{ host: ledger.internal, trafficPolicy: { tls: ${mutual} } }`)}`).codes, []);
    assert.deepEqual(reached(base).codes, []);
  });
});
