/** Warnings of what rules say: values that never match, names that nobody has, ports, contradictions. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { API, authorizationPolicy, meshOf } from "../../../test/fixture/yaml-mesh.ts";

const ACCOUNTS = ["shop/cart", "web/front"]
  .map((key) => key.split("/"))
  .map(([namespace = "", name = ""]) => `---\napiVersion: v1\nkind: ServiceAccount\nmetadata: { name: ${name}, namespace: ${namespace} }\n`)
  .join("");

function told(...yaml: readonly string[]): readonly string[] {
  const { diagnostics } = meshOf(API + ACCOUNTS + yaml.join(""));
  return diagnostics
    .filter(({ code }) => code >= "GAR0207" && code < "GAR0220")
    .map(({ code, message, help }) => `${code} ${message.replace(/^.*? rule `shop\/p\[0\]` /, "")} => ${help}`);
}

const rule = (text: string, action = "DENY") =>
  told(authorizationPolicy("p", `{ action: ${action}, selector: { matchLabels: { app: api } }, rules: [${text}] }`));
const source = (field: string, value: string) => rule(`{ from: [{ source: { ${field}: ["${value}"] } }] }`);
const operation = (field: string, value: string) => rule(`{ to: [{ operation: { ${field}: ["${value}"] } }] }`);

describe("values that never match", () => {
  for (const [warning, [code, told]] of [
    [source("principals", "spiffe://cluster.local/ns/shop/sa/cart"), ["GAR0207", "write `cluster.local/ns/shop/sa/cart`"]],
    [source("principals", "spiffe://cluster.local/*"), ["GAR0207", "write `cluster.local/*`"]],
    [source("principals", "cart"), ["GAR0207", "an account alone is named by `serviceAccounts`"]],
    [source("principals", "cluster.local/ns/*/sa/cart"), ["GAR0207", "use `namespaces` or `serviceAccounts`, or write one value for each"]],
    [operation("paths", "^/admin/.*$"), ["GAR0207", "write the text itself"]],
    [operation("methods", "get"), ["GAR0207", "write `GET`"]],
    [operation("paths", "admin"), ["GAR0207", "write `/admin`"]],
    [operation("paths", "admin/*"), ["GAR0207", "write `/admin/*`"]],
    [operation("paths", "/a?b=1"), ["GAR0207", "write `/a`"]],
    [operation("paths", "/a/*/b"), ["GAR0207", "write `{*}` for one segment, and `{**}`, once, for any number of segments"]],
    [operation("paths", "/straße"), ["GAR0207", "write it so"]],
    [operation("paths", "/a/../photos/*"), ["GAR0207", "write the path that they lead to"]],
    [operation("paths", "/a/."), ["GAR0207", "write the path that they lead to"]],
    [operation("paths", "/%70hotos/%2e/*"), ["GAR0207", "write `/photos/./*`"]],
    [operation("hosts", "https://a.example/x"), ["GAR0207", "write `a.example`, and paths in `paths`"]],
    [operation("hosts", "a.*.example"), ["GAR0207", "write one value for each host"]],
    [rule("{ when: [{ key: connection.sni, values: ['https://a.example'] }] }"), ["GAR0207", "write `a.example`"]],
    [
      rule("{ when: [{ key: connection.sni, values: ['outbound_.*.shop'] }] }"),
      ["GAR0207", "write one value for each, or a `*` at one end"],
    ],
    [operation("methods", "*E*"), ["GAR0207", "write one value for each method"]],
    [source("ipBlocks", "10.1.2.3/16"), ["GAR0209", "write `10.1.0.0/16`, or `10.1.2.3` for the one address"]],
    [source("remoteIpBlocks", "2001:db8::1/32"), ["GAR0209", "write `2001:db8:0:0:0:0:0:0/32`, or `2001:db8::1` for the one address"]],
  ] as const)
    it(`are told of with what to write: ${told}`, () => {
      assert.equal(warning.length, 1, warning.join("\n"));
      assert.ok(warning[0]?.startsWith(`${code} `) === true && warning[0].endsWith(told), warning.join("\n"));
    });

  it("depend on how the mesh normalizes paths", () => {
    const inMode = (mode: string, path: string) =>
      told(
        `---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata: { mesh: "pathNormalization: { normalization: ${mode} }" }\n`,
        authorizationPolicy(
          "p",
          `{ action: DENY, selector: { matchLabels: { app: api } }, rules: [{ to: [{ operation: { paths: ["${path}"] } }] }] }`,
        ),
      );
    assert.match(inMode("MERGE_SLASHES", "/a//b").join(), /several slashes are compared as one => write `\/a\/b`$/);
    assert.deepEqual(inMode("NONE", "/a/../b"), []);
  });

  it("are told of once for each field and reason", () => {
    const [first = "", ...others] = rule(
      "{ to: [{ operation: { methods: [get, post] } }, { operation: { methods: [put], notPaths: [a] } }] }",
    );
    assert.match(first, /^GAR0207 has `get`, `post`, `put` in `methods`, which never matches what is meant: methods are compared/);
    assert.deepEqual(others, ["GAR0207 has `a` in `notPaths`, which excludes nothing: a path begins with `/` => write `/a`"]);
  });

  it("are lists of methods in one value", () => {
    const [first = ""] = rule('{ to: [{ operation: { methods: ["GET, POST"] } }] }');
    assert.match(first, /^GAR0207 has `GET, POST` in `methods`.*it is one method, not a list of them => write one value for each method$/);
  });

  it("are none of what may come", () => {
    for (const right of [
      operation("paths", "/a/.*"),
      operation("paths", "/a//b"),
      operation("paths", "/a%2fb%"),
      operation("paths", "/%4%41"),
      source("principals", "cluster.local/ns/shop/sa/cart"),
      source("principals", "*/sa/cart"),
      source("principals", "other.example/ns/shop/sa/nobody"),
      source("principals", "cluster*/ns/shop/sa/cart"),
      operation("methods", "PROPFIND"),
      operation("methods", "G*"),
      operation("paths", "*.php"),
      operation("paths", "/a/{*}/b"),
      operation("hosts", "*.a.example:8080"),
      source("ipBlocks", "10.1.0.0/16"),
      source("ipBlocks", "2001:db8::/32"),
    ])
      assert.deepEqual(right, []);
  });
});

describe("names that nobody has", () => {
  for (const [warning, help] of [
    [source("principals", "cluster.local/ns/shop/sa/crat"), "did you mean `cluster.local/ns/shop/sa/cart`?"],
    [source("principals", "cluster.local/ns/shop/sa/front"), "did you mean `cluster.local/ns/web/sa/front`?"],
    [source("namespaces", "wep"), "did you mean `web`?"],
    [source("serviceAccounts", "carts"), "did you mean `shop/cart`?"],
    [source("notServiceAccounts", "web/fronte"), "did you mean `web/front`?"],
    [source("namespaces", "elsewhere-at-all"), "names are compared with regard to case"],
  ] as const)
    it(`are told of: ${help}`, () => {
      assert.equal(warning.length, 1, warning.join("\n"));
      assert.ok(warning[0]?.startsWith("GAR0208 ") === true && warning[0].endsWith(help), warning.join("\n"));
    });

  it("are none of accounts, of workloads without one, of patterns, of declared namespaces and of other trust domains", () => {
    for (const right of [
      source("serviceAccounts", "api"),
      source("namespaces", "we*"),
      source("namespaces", "istio-system"),
      source("principals", "other.example/ns/shop/sa/crat"),
    ])
      assert.deepEqual(right, []);
    const declared = "---\napiVersion: v1\nkind: Namespace\nmetadata: { name: later }\n";
    assert.deepEqual(told(declared, authorizationPolicy("p", "{ rules: [{ from: [{ source: { namespaces: [later] } }] }] }")), []);
  });

  it("are none of a folder without any account: of it nothing tells who there is", () => {
    const policy = authorizationPolicy("p", "{ rules: [{ from: [{ source: { namespaces: [wep] } }] }] }");
    assert.deepEqual(
      meshOf(API + policy).diagnostics.filter(({ code }) => code === "GAR0208"),
      [],
    );
  });

  it("are told of where the mesh has another name, which `cluster.local` stands for as well", () => {
    const config =
      '---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata: { mesh: "trustDomainAliases: [old.example]" }\n';
    const from = (domain: string) =>
      authorizationPolicy("p", `{ rules: [{ from: [{ source: { principals: ["${domain}/ns/shop/sa/crat"] } }] }] }`);
    assert.equal(told(config, from("old.example")).length, 1);
    assert.deepEqual(told(from("old.example")), []);
  });
});

describe("ports", () => {
  it("of a service are told of with the workload's", () => {
    assert.deepEqual(operation("ports", "80"), [
      "GAR0210 names port 80 in vain: it is the port of service `shop/front`, which leads to port 8080 of the workload => write 8080: ports are the workload's own",
    ]);
    assert.equal(rule('{ when: [{ key: destination.port, values: ["80"] }] }').length, 1);
    assert.equal(operation("notPorts", "80").length, 1);
  });

  it("at which nothing listens are told of with those at which something does", () => {
    assert.deepEqual(operation("ports", "81"), [
      "GAR0210 names port 81 in vain: nothing listens there => the workloads that it holds for listen at shop/api:8080, shop/api:9000",
    ]);
    assert.deepEqual(operation("notPorts", "81"), []);
    assert.deepEqual(operation("ports", "9000"), []);
  });

  it("of a gateway's server that waits for its Secret are none: what is wrong is told of the Secret", () => {
    const edge = `---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: edge, namespace: shop }
spec: { address: 10.0.0.9, serviceAccount: api, labels: { app: edge } }
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: edge, namespace: shop }
spec: { selector: { app: edge }, servers: [{ port: { number: 443, protocol: HTTPS }, hosts: [a.example.org], tls: { mode: SIMPLE, credentialName: none } }, { port: { number: 8081, protocol: HTTP }, hosts: ["*"] }] }
`;
    const at = (ports: string) =>
      told(
        edge +
          authorizationPolicy(
            "p",
            `{ action: DENY, selector: { matchLabels: { app: edge } }, rules: [{ to: [{ operation: { ports: [${ports}] } }] }] }`,
          ),
      );
    assert.deepEqual(at('"443"'), []);
    assert.match(at('"444"')[0] ?? "", /^GAR0210 names port 444 in vain/);
  });

  it("that leave nothing over are told of", () => {
    const [warning = "", ...others] = rule(
      '{ to: [{ operation: { ports: ["8080"] } }], when: [{ key: destination.port, values: ["9000"] }] }',
    );
    assert.match(warning, /^GAR0211 holds nowhere: its ports exclude each other, or all at which shop\/api listens/);
    assert.deepEqual(others, []);
  });

  it("of `portLevelMtls` are told of where nothing listens", () => {
    const modes = (ports: string) =>
      `---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: o, namespace: shop }\nspec: { selector: { matchLabels: { app: other } }, portLevelMtls: ${ports} }\n`;
    assert.deepEqual(told(modes("{ 80: { mode: STRICT } }")), [
      "GAR0214 `portLevelMtls` of PeerAuthentication `shop/o` names port 80 in vain: it is the port of service `shop/front`, which leads to port 8080 of the workload => write 8080: ports are the workload's own",
    ]);
    assert.deepEqual(told(modes("{ 8080: { mode: STRICT } }")), []);
  });
});

describe("what excludes itself", () => {
  for (const [text, part] of [
    ["{ to: [{ operation: { methods: [GET], notMethods: [GET, PUT] } }] }", "an operation"],
    ['{ to: [{ operation: { paths: ["/a", "/ab*"], notPaths: ["/a*"] } }, { operation: { methods: [GET] } }] }', "an operation"],
    ['{ from: [{ source: { namespaces: [shop], notNamespaces: ["*"] } }] }', "a source"],
    ["{ from: [{ source: { ipBlocks: [10.1.2.0/24], notIpBlocks: [10.0.0.0/8] } }] }", "a source"],
    ["{ from: [{ source: { namespaces: [shop] } }], when: [{ key: source.namespace, notValues: [shop] }] }", "a source"],
    ['{ when: [{ key: "request.headers[x-a]", values: [b], notValues: [b] }] }', "the condition"],
  ] as const)
    it(`is told of: ${text}`, () => {
      const { diagnostics } = meshOf(API + authorizationPolicy("p", `{ action: DENY, rules: [${text}] }`));
      const found = diagnostics.filter(({ code }) => code === "GAR0212");
      assert.equal(found.length, 1);
      assert.ok(
        found[0]?.message.startsWith(`${part} of DENY rule \`shop/p[0]\` never matches: `) === true,
        found.map(({ message }) => message).join("\n"),
      );
    });

  it("is not an exception that leaves something over, nor one of another header or element", () => {
    for (const text of [
      '{ to: [{ operation: { paths: ["/a*"], notPaths: ["/a"] } }] }',
      "{ to: [{ operation: { methods: [GET, PUT], notMethods: [GET] } }] }",
      "{ to: [{ operation: { methods: [GET] } }, { operation: { notMethods: [GET] } }] }",
      "{ from: [{ source: { ipBlocks: [10.0.0.0/8], notIpBlocks: [10.1.0.0/16] } }] }",
      '{ when: [{ key: "request.headers[x-a]", values: [b] }, { key: "request.headers[x-b]", notValues: [b] }] }',
    ])
      assert.deepEqual(rule(text), []);
  });
});

describe("what must be two things at once", () => {
  for (const [text, part] of [
    ['{ when: [{ key: source.namespace, values: [shop] }, { key: source.namespace, values: [web, "w*"] }] }', "the condition"],
    ["{ from: [{ source: { namespaces: [shop] } }], when: [{ key: source.namespace, values: [web] }] }", "a source"],
    ["{ from: [{ source: { ipBlocks: [10.1.0.0/16] } }], when: [{ key: source.ip, values: [10.2.0.0/16] }] }", "a source"],
    ["{ from: [{ source: { serviceAccounts: [cart] } }], when: [{ key: source.serviceAccount, values: [web/front] }] }", "a source"],
    [
      "{ from: [{ source: { principals: [cluster.local/ns/shop/sa/cart] } }], when: [{ key: source.principal, values: [cluster.local/ns/web/sa/front] }] }",
      "a source",
    ],
    ['{ when: [{ key: connection.sni, values: ["*.Example"] }, { key: connection.sni, values: [a.example.org] }] }', "the condition"],
  ] as const)
    it(`is told of: ${text}`, () => {
      const { diagnostics } = meshOf(API + ACCOUNTS + authorizationPolicy("p", `{ action: DENY, rules: [${text}] }`));
      const found = diagnostics.filter(({ code }) => code === "GAR0219").map(({ message }) => message);
      assert.equal(found.length, 1, JSON.stringify(diagnostics));
      assert.match(found[0] ?? "", /^.* of DENY rule `shop\/p\[0\]` never matches: `[a-zA-Z.]+` must be `.+`, and `.+` too$/);
      assert.ok(found[0]?.startsWith(part) === true, found.join());
    });

  it("is not what patterns, other names of the trust domain, several elements or several values may be", () => {
    for (const text of [
      '{ when: [{ key: source.namespace, values: [shop] }, { key: source.namespace, values: ["s*"] }] }',
      '{ when: [{ key: "request.headers[x-a]", values: [b] }, { key: "request.headers[x-a]", values: [c] }] }',
      '{ when: [{ key: connection.sni, values: ["*.EXAMPLE"] }, { key: connection.sni, values: [a.example] }] }',
      "{ from: [{ source: { ipBlocks: [10.1.0.0/16] } }], when: [{ key: source.ip, values: [10.0.0.0/8, 192.0.2.1] }] }",
      "{ from: [{ source: { principals: [cluster.local/ns/shop/sa/cart] } }], when: [{ key: source.principal, values: [old.example/ns/shop/sa/cart] }] }",
      '{ to: [{ operation: { paths: ["/a*"] } }, { operation: { paths: ["/b"] } }] }',
    ])
      assert.deepEqual(
        rule(text).filter((warning) => warning.startsWith("GAR0219")),
        [],
        text,
      );
  });
});

describe("PeerAuthentications of one scope", () => {
  const peer = (name: string, spec: string, more = "") =>
    `---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: ${name}, namespace: shop${more} }\nspec: ${spec}\n`;
  const api = "{ selector: { matchLabels: { app: api } }, mtls: { mode: PERMISSIVE } }";

  it("are told of but the one that holds: by age, or else by name", () => {
    assert.match(
      told(peer("b", "{}"), peer("a", "{}")).join("\n"),
      /^GAR0213 PeerAuthentication `shop\/b` is ignored: `shop\/a` is for the same, and comes first => /,
    );
    const older = peer("b", "{}", ', creationTimestamp: "2020-01-01T00:00:00Z"');
    const younger = peer("a", "{}", ', creationTimestamp: "2021-01-01T00:00:00Z"');
    assert.match(told(older, younger).join("\n"), /^GAR0213 PeerAuthentication `shop\/a` is ignored: `shop\/b` is/);
  });

  it("are told of with the workloads that both select", () => {
    assert.match(
      told(peer("z", api)).join("\n"),
      /^GAR0213 PeerAuthentication `shop\/z` is ignored at shop\/api: `shop\/strict` is for the same/,
    );
  });

  it("are not of different scopes", () => {
    const root = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: mesh, namespace: istio-system }\n";
    const other = "{ selector: { matchLabels: { app: other } }, mtls: { mode: STRICT } }";
    assert.deepEqual(told(peer("all", "{}"), root, peer("other", other)), []);
  });
});

describe("ports whose protocol nothing says", () => {
  it("are told of with how to say it, where a rule has HTTP fields for them", () => {
    const service = (port: string) =>
      `---\napiVersion: v1\nkind: Service\nmetadata: { name: odd, namespace: odd }\nspec: { selector: { app: odd }, ports: [${port}] }\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { name: odd, namespace: odd }\nspec: { address: 10.0.0.1, serviceAccount: odd, labels: { app: odd } }\n`;
    const policy = (action: string) =>
      authorizationPolicy("p", `{ action: ${action}, rules: [{ to: [{ operation: { paths: [/a] } }] }] }`).replace(
        "namespace: shop",
        "namespace: odd",
      );
    const help = (port: string, action: string) =>
      meshOf(service(port) + policy(action)).diagnostics.find(({ code }) => code === "GAR0201")?.help ?? "";
    for (const action of ["DENY", "ALLOW"]) {
      assert.match(
        help("{ port: 80, name: web }", action),
        /say so: port 80 of service `odd\/odd` is named `web`, which says no protocol: name it `http-…`, or set `appProtocol: http`$/,
      );
      assert.match(help("{ port: 80 }", action), /port 80 of service `odd\/odd` has no name, which says no protocol/);
      assert.doesNotMatch(help("{ port: 80, name: tcp }", action), /protocol/);
      assert.equal(help("{ port: 80, name: http }", action), "");
    }
  });
});
