/** What warnings claim, asked of the decision engine: what is said never to match never does, and what is said to get past a rule does. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { DiagnosticCode } from "../../src/core/diagnostic.ts";
import type { Facts } from "../../src/policy/decision.ts";
import type { PathNormalization } from "../../src/policy/mesh-config.ts";
import { compileDecision } from "../../src/render/decide/decide.ts";
import { normalizePath } from "../../src/render/decide/normalize-path.ts";
import { API, authorizationPolicy, meshOf } from "../fixture/yaml-mesh.ts";

const MESH = `${API}---
apiVersion: v1
kind: ServiceAccount
metadata: { name: api, namespace: shop }
`;

/** In a mesh with more names than one. */
const ALIASES = `---
apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data: { mesh: "trustDomainAliases: [old.example]" }
`;

type Ruled = ReturnType<typeof compileRuled>;

const compiled = new Map<string, Ruled>();

/** `api` and nobody else is in the mesh, as `shop/api`. Compiled once. */
function ruled(rule: unknown, more = ""): Ruled {
  const key = `${JSON.stringify(rule)} ${more}`;
  const known = compiled.get(key) ?? compileRuled(rule, more);
  compiled.set(key, known);
  return known;
}

function compileRuled(rule: unknown, more: string) {
  const spec = { action: "DENY", selector: { matchLabels: { app: "api" } }, rules: [rule] };
  const { policies, diagnostics } = meshOf(MESH + more + authorizationPolicy("p", JSON.stringify(spec)));
  const api = policies.get("shop/api");
  assert.ok(api);
  const own = diagnostics.filter(({ message }) => message.includes("shop/p[0]"));
  return { engine: compileDecision(api), diagnostics: own };
}

const NEVER: ReadonlySet<DiagnosticCode> = new Set(["GAR0207", "GAR0208", "GAR0210", "GAR0211", "GAR0212", "GAR0219"]);

// === What there is to match ===

const TEXTS = {
  principals: [
    ...[
      "cluster.local/ns/shop/sa/api",
      "spiffe://cluster.local/ns/shop/sa/api",
      "cluster.local/ns/shop/sa/ap",
      "*/sa/api",
      "cluster.local/*",
    ],
    ...[
      "shop/api",
      "api",
      "*",
      "cluster.local/ns/*/sa/api",
      "spiffe://cluster.local/*",
      "*/ns/shop/sa/api",
      "old.example/ns/shop/sa/api",
      "old*/ns/shop/sa/api",
      "old*/ns/shop/sa/ap",
      "*example/ns/shop/sa/api",
      "^cluster.local/ns/shop/sa/api$",
    ],
  ],
  namespaces: ["shop", "shopp", "sh*", "*", "default"],
  methods: ["GET", "get", "Post", "POST", "G*", "*", "PROPFIND", "propfind"],
  paths: ["/a", "a", "/a?x=1", "/a*", "*a", "/a/*/b", "*", "/a/{*}", "a*", "/é", "/a#b", "*/b", "/a/b", "*?x", "/a%2fb", "/{**}"],
  hosts: ["a.example", "https://a.example", "a.example/x", "*.example", "a.*.example", "A.EXAMPLE", "a.example:80", "a.*", "*"],
  ports: ["8080", "80", "9000", "1"],
  ipBlocks: ["10.1.2.3", "10.1.2.3/16", "10.0.0.0/8", "2001:db8::1/32"],
} as const;

const SOURCE = ["principals", "namespaces", "ipBlocks"] as const;
const OPERATION = ["methods", "paths", "hosts", "ports"] as const;
type Field = (typeof SOURCE)[number] | (typeof OPERATION)[number];

const negative = (field: string) => `not${field.slice(0, 1).toUpperCase()}${field.slice(1)}`;
const valuesOf = (field: Field) => fc.uniqueArray(fc.constantFrom<string>(...TEXTS[field]), { minLength: 1, maxLength: 2 });

/** An element of fields and negative fields. */
function element(fields: readonly Field[]) {
  const names = fields.flatMap((field) => [[field, field] as const, [negative(field), field] as const]);
  return fc
    .uniqueArray(
      fc.constantFrom(...names).chain(([name, field]) => valuesOf(field).map((values) => [name, values] as const)),
      { minLength: 1, maxLength: 3, selector: ([name]) => name },
    )
    .map((pairs) => Object.fromEntries(pairs));
}

const KEYS = {
  "source.principal": "principals",
  "source.namespace": "namespaces",
  "source.ip": "ipBlocks",
  "destination.port": "ports",
} as const;

const condition = fc
  .constantFrom(...(Object.keys(KEYS) as readonly (keyof typeof KEYS)[]))
  .chain((key) => valuesOf(KEYS[key]).map((values) => ({ key, values })));

const rules = fc
  .record({ source: fc.option(element(SOURCE)), operation: fc.option(element(OPERATION)), when: fc.array(condition, { maxLength: 2 }) })
  .map(({ source, operation, when }) => ({
    ...(source === null ? {} : { from: [{ source }] }),
    ...(operation === null ? {} : { to: [{ operation }] }),
    ...(when.length === 0 ? {} : { when }),
  }));

/** Requests that arrive: of an account of the mesh or in plaintext, with a path as the proxy hands it on, at a port that is open. */
const requests: fc.Arbitrary<Facts> = fc
  .record({
    peer: fc.constantFrom(undefined, "spiffe://cluster.local/ns/shop/sa/api", "spiffe://old.example/ns/shop/sa/api"),
    ip: fc.constantFrom("10.1.2.3", "10.1.9.9", "10.9.9.9", "192.0.2.1", "2001:db8::2"),
    method: fc.constantFrom("GET", "POST", "PROPFIND"),
    target: fc.constantFrom("/a", "/a/b", "/a/x/b", "/", "/ba", "/a?x=1", "/a#b", "/a%2fb", "/%C3%A9", "/a/*/b", "/b"),
    host: fc.constantFrom("a.example", "A.example", "a.example:80", "b.a.example", "a.b.example", "shop"),
  })
  .map(({ peer, ip, method, target, host }) => ({
    peer,
    sourceIp: ip,
    remoteIp: ip,
    destinationIp: "127.0.0.1",
    destinationPort: 8080,
    sni: "",
    http: { method, path: normalizePath(target)?.path ?? "/", host, headers: new Map() },
  }));

describe("a rule that is said never to match", () => {
  it("matches nothing that can arrive, value by value", () => {
    const single = fc
      .constantFrom<Field>(...SOURCE, ...OPERATION)
      .chain((field) => fc.constantFrom<string>(...TEXTS[field]).map((value) => ({ field, value })));
    let count = 0;
    fc.assert(
      fc.property(single, requests, fc.constantFrom("", ALIASES), ({ field, value }, facts, more) => {
        const part = SOURCE.some((name) => name === field)
          ? { from: [{ source: { [field]: [value] } }] }
          : { to: [{ operation: { [field]: [value] } }] };
        const { engine, diagnostics } = ruled(part, more);
        const isLiteral = field === "paths" && value === "/a/*/b" && facts.http?.path === value;
        const told = diagnostics.some(({ code }) => NEVER.has(code)) && !isLiteral;
        if (!told) return true;
        count++;
        return engine.http(facts).effect === "allow";
      }),
      { numRuns: 1500 },
    );
    assert.ok(count > 200, `only ${count} values were told of`);
  });

  it("matches nothing that can arrive where its own fields exclude each other, or no port is left", () => {
    const HOPELESS: ReadonlySet<DiagnosticCode> = new Set(["GAR0211", "GAR0212", "GAR0219"]);
    let told = 0;
    fc.assert(
      fc.property(rules, requests, (rule, facts) => {
        const { engine, diagnostics } = ruled(rule);
        if (!diagnostics.some(({ code }) => HOPELESS.has(code))) return true;
        told++;
        return engine.http(facts).effect === "allow";
      }),
      { numRuns: 1500 },
    );
    assert.ok(told > 20, `only ${told} rules were told of`);
  });
});

describe("a spelling that is said to get past a rule", () => {
  const MODES: readonly PathNormalization[] = ["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];
  const VALUES = [
    ...["/admin", "/admin/users", "/admin/*", "*.php", "*/secret", "/users/{*}", "/files/{**}", "/files/{**}/", "/", "/1", "/A", "*x"],
    ...[
      "admin",
      "admin*",
      "/a/*/b",
      "/a*/b*",
      "/a//b",
      "/a/../b",
      "/a/./b",
      "/a%2fb",
      "/a%2Fb*",
      "/%61",
      "/a?b",
      "/a#b",
      "/é",
      "/a;x",
      "//",
    ],
    ...["/a\\b", "/a b", "/.well-known", "/a/..;/b", "/a/.", "/~x", "/a+b", "/*", "*admin*", "/{*}/b", "/a|b", "/a/b/"],
  ];

  for (const mode of MODES)
    it(`does, while what it is a spelling of does not, under ${mode}`, () => {
      const config = `---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata: { mesh: "pathNormalization: { normalization: ${mode} }" }\n`;
      const past: string[] = [];
      for (const value of VALUES) {
        const { engine, diagnostics } = ruled({ to: [{ operation: { paths: [value] } }] }, config);
        const effect = (target: string) => {
          const path = normalizePath(target, mode)?.path;
          const facts = {
            peer: undefined,
            sourceIp: "10.0.0.1",
            remoteIp: "10.0.0.1",
            destinationIp: "127.0.0.1",
            destinationPort: 8080,
            sni: "",
          };
          return path === undefined
            ? "refused"
            : engine.http({ ...facts, http: { method: "GET", path, host: "a", headers: new Map() } }).effect;
        };
        const warning = diagnostics.find(({ code }) => code === "GAR0203");
        const offered = [...(warning?.message ?? "").matchAll(/`([^`]+)`/g)].map(([, text = ""]) => text).slice(1);
        const wrong = offered.filter((target) => effect(target) !== "allow");
        assert.deepEqual(wrong, [], `${value} under ${mode}`);
        if (offered.length === 0) continue;
        past.push(value);
        const plain = value
          .replace(/\{\*\*?\}/g, "x")
          .replace(/^\*(?!\/)/, "/x")
          .replace(/\*/g, "");
        assert.equal(effect(plain), "deny", `${plain} under ${mode}`);
      }
      assert.ok(past.length >= 12, past.join(" "));
      assert.ok(!past.includes("admin") && !past.includes("/a/*/b"), past.join(" "));
    });
});
