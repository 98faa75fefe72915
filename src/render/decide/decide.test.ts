import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { AuthorizationLayers, CompiledRule, Condition } from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import type { AttributeKey } from "../../policy/attributes.ts";
import { type Facts, formatBecause } from "../../policy/decision.ts";
import { parseIpBlock } from "../../policy/ip-block.ts";
import type { Clause } from "../../policy/model.ts";
import { formatOrigin } from "../../policy/origin.ts";
import { parseStringMatch, type TemplateSegment, type ValueMatch } from "../../policy/pattern.ts";
import { compileDecision } from "./decide.ts";

const PEER = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend";

type Overrides = Partial<Omit<Facts, "http">> & {
  readonly path?: string;
  readonly method?: string;
  readonly host?: string;
  readonly headers?: Record<string, string[]>;
};

function facts({ path = "/", method = "GET", host = "backend", headers = {}, ...rest }: Overrides = {}): Facts {
  return {
    peer: PEER,
    sourceIp: "10.1.2.3",
    remoteIp: "203.0.113.9",
    destinationIp: "10.9.9.9",
    destinationPort: 8080,
    sni: "outbound_.80_._.backend",
    http: { method, path, host, headers: new Map(Object.entries(headers)) },
    ...rest,
  };
}

function clause(
  attribute: AttributeKey,
  values: readonly (string | ValueMatch)[],
  options: { negated?: boolean; argument?: string } = {},
): Clause {
  const matches = values.map((value) => (typeof value === "string" ? parseStringMatch(value) : value));
  return { attribute, argument: options.argument ?? "", values: matches, negated: options.negated ?? false };
}

function when(...clauses: Clause[]): Condition {
  return { kind: "when", from: [], to: [], when: clauses };
}

function rule(policy: string, condition: Condition, index = 0): CompiledRule {
  return { origin: { namespace: "ns", policy, rule: index }, condition };
}

function layers(partial: Partial<AuthorizationLayers>): AuthorizationLayers {
  return { audit: [], deny: [], allow: undefined, ...partial };
}

const OPEN = layers({});

function decideHttp(http: AuthorizationLayers, asked: Facts): string {
  const decision = compileDecision({ http, tcp: OPEN }).http(asked);
  return `${decision.effect} ${formatBecause(decision.because)}`;
}

/** Whether one clause matches, by way of an ALLOW rule that has nothing else. */
function matches(asked: Clause, overrides: Overrides = {}): boolean {
  return decideHttp(layers({ allow: [rule("p", when(asked))] }), facts(overrides)).startsWith("allow");
}

describe("the order of the layers", () => {
  const always: Condition = { kind: "always" };
  const never: Condition = { kind: "never" };

  test("without any policy everything is allowed because of no policy", () => {
    assert.equal(decideHttp(OPEN, facts()), "allow no-policy");
  });
  test("a policy that allows nothing denies by default", () => {
    assert.equal(decideHttp(layers({ allow: [] }), facts()), "deny default");
    assert.equal(decideHttp(layers({ allow: [rule("p", never)] }), facts()), "deny default");
  });
  test("a matching DENY wins over a matching ALLOW", () => {
    assert.equal(decideHttp(layers({ deny: [rule("d", always)], allow: [rule("a", always)] }), facts()), "deny ns/d[0]");
  });
  test("a DENY that does not match leaves an allowed request to no policy", () => {
    assert.equal(decideHttp(layers({ deny: [rule("d", never)] }), facts()), "allow no-policy");
  });
  test("of several matching rules the first in the list is the reason", () => {
    assert.equal(decideHttp(layers({ allow: [rule("a", never), rule("b", always, 2), rule("c", always)] }), facts()), "allow ns/b[2]");
  });
  test("AUDIT rules that match are collected and never block, whatever the decision", () => {
    const audit = [rule("x", always), rule("y", never), rule("z", always)];
    for (const allow of [undefined, []]) {
      const decision = compileDecision({ http: layers({ audit, allow }), tcp: OPEN }).http(facts());
      assert.deepEqual(decision.audit.map(formatOrigin), ["ns/x[0]", "ns/z[0]"]);
      assert.equal(decision.effect, allow === undefined ? "allow" : "deny");
    }
  });
  test("the layers of TCP are asked for connections, those of HTTP for requests", () => {
    const engine = compileDecision({ http: layers({ allow: [] }), tcp: layers({ deny: [rule("t", always)] }) });
    assert.equal(formatBecause(engine.http(facts()).because), "default");
    assert.equal(formatBecause(engine.tcp({ ...facts(), http: undefined }).because), "ns/t[0]");
  });
});

describe("the structure of a rule (AZ-3)", () => {
  const get = clause("method", ["GET"]);
  const post = clause("method", ["POST"]);
  const root = clause("path", ["/"]);

  const decide = (condition: Condition) => decideHttp(layers({ allow: [rule("p", condition)] }), facts());
  test("elements of to are alternatives", () => {
    assert.equal(decide({ kind: "when", from: [], to: [[post], [get]], when: [] }), "allow ns/p[0]");
  });
  test("the fields of one element must all match", () => {
    assert.equal(decide({ kind: "when", from: [], to: [[post, root]], when: [] }), "deny default");
    assert.equal(decide({ kind: "when", from: [], to: [[get, root]], when: [] }), "allow ns/p[0]");
  });
  test("from, to and when must all match", () => {
    const from = [[clause("namespace", ["photo-ns"])]];
    assert.equal(decide({ kind: "when", from, to: [[get]], when: [root] }), "allow ns/p[0]");
    assert.equal(decide({ kind: "when", from, to: [[post]], when: [root] }), "deny default");
    assert.equal(decide({ kind: "when", from: [[clause("namespace", ["other"])]], to: [[get]], when: [root] }), "deny default");
  });
  test("a negated clause is NOT of OR over its values", () => {
    assert.equal(matches(clause("method", ["POST", "PUT"], { negated: true })), true);
    assert.equal(matches(clause("method", ["POST", "GET"], { negated: true })), false);
  });
});

describe("peer attributes", () => {
  test("principals compare the text after spiffe:// in each form", () => {
    for (const value of ["cluster.local/ns/photo-ns/sa/photo-frontend", "*/sa/photo-frontend", "cluster.local/ns/*", "*"]) {
      assert.equal(matches(clause("principal", [value])), true, value);
    }
    for (const value of ["cluster-local/ns/photo-ns/sa/photo-frontend", PEER, "*/sa/photo", "ns/photo-ns/*"]) {
      assert.equal(matches(clause("principal", [value])), false, value);
    }
  });
  test("a namespace is compared in full, and its dots are dots (CVE-2026-39350)", () => {
    assert.equal(matches(clause("namespace", ["photo-ns"])), true);
    assert.equal(matches(clause("namespace", ["photo-*"])), true);
    assert.equal(matches(clause("namespace", ["photo"])), false);
    assert.equal(matches(clause("serviceAccount", [{ kind: "service-account", namespace: "photo-ns", name: "photo.frontend" }])), false);
  });
  test("a service account is one of its own namespace only", () => {
    assert.equal(matches(clause("serviceAccount", [{ kind: "service-account", namespace: "photo-ns", name: "photo-frontend" }])), true);
    assert.equal(matches(clause("serviceAccount", [{ kind: "service-account", namespace: "other", name: "photo-frontend" }])), false);
  });
  test("trust domains match in each form", () => {
    assert.equal(matches(clause("trustDomain", ["cluster.local"])), true);
    assert.equal(matches(clause("trustDomain", ["*.local"])), true);
    assert.equal(matches(clause("trustDomain", ["cluster"])), false);
  });
  const peerClauses: readonly [AttributeKey, ValueMatch | string][] = [
    ["principal", "*"],
    ["namespace", "*"],
    ["trustDomain", "*"],
    ["serviceAccount", { kind: "service-account", namespace: "photo-ns", name: "photo-frontend" }],
  ];
  for (const [attribute, value] of peerClauses) {
    test(`a plaintext peer matches no ${attribute}, and every negated one`, () => {
      assert.equal(matches(clause(attribute, [value]), { peer: undefined }), false);
      assert.equal(matches(clause(attribute, [value], { negated: true }), { peer: undefined }), true);
    });
  }
  test("a peer of another form than a workload's matches principals and trust domains alone", () => {
    const peer = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend/extra";
    assert.equal(matches(clause("principal", ["cluster.local/*"]), { peer }), true);
    assert.equal(matches(clause("namespace", ["*"]), { peer }), false);
    assert.equal(
      matches(clause("serviceAccount", [{ kind: "service-account", namespace: "photo-ns", name: "photo-frontend" }]), { peer }),
      false,
    );
    assert.equal(matches(clause("trustDomain", ["cluster.local"]), { peer }), true);
    assert.equal(matches(clause("trustDomain", ["cluster.local"]), { peer: "spiffe://cluster.local.evil/x" }), false);
  });
});

describe("addresses and ports", () => {
  const block = (text: string): ValueMatch => ({ kind: "ip", block: parseIpBlock(text) });
  test("source, remote and destination addresses are asked apart", () => {
    assert.equal(matches(clause("sourceIp", [block("10.1.0.0/16")])), true);
    assert.equal(matches(clause("remoteIp", [block("10.1.0.0/16")])), false);
    assert.equal(matches(clause("remoteIp", [block("203.0.113.9")])), true);
    assert.equal(matches(clause("destinationIp", [block("10.9.9.0/24"), block("192.0.2.0/24")])), true);
  });
  test("an IPv4 address that arrives mapped into IPv6 is the IPv4 one", () => {
    assert.equal(matches(clause("sourceIp", [block("10.1.0.0/16")]), { sourceIp: "::ffff:10.1.2.3" }), true);
  });
  test("an address that cannot be read matches no block, and every negated one", () => {
    assert.equal(matches(clause("sourceIp", [block("0.0.0.0/0")]), { sourceIp: "" }), false);
    assert.equal(matches(clause("sourceIp", [block("0.0.0.0/0")], { negated: true }), { sourceIp: "" }), true);
  });
  test("the destination port is compared as a number", () => {
    assert.equal(matches(clause("destinationPort", [{ kind: "port", port: 8080 }])), true);
    assert.equal(matches(clause("destinationPort", [{ kind: "port", port: 80 }])), false);
  });
  test("a server name is matched, and an absent one is not present", () => {
    assert.equal(matches(clause("sni", ["outbound_*"])), true);
    assert.equal(matches(clause("sni", ["*"]), { sni: "" }), false);
  });
});

describe("HTTP attributes", () => {
  test("hosts are compared without regard to case, with the port as it came (CVE-2021-39155)", () => {
    assert.equal(matches(clause("host", ["Admin.Example.ORG"]), { host: "aDMIN.example.org" }), true);
    assert.equal(matches(clause("host", ["*.example.org"]), { host: "A.EXAMPLE.ORG" }), true);
    assert.equal(matches(clause("host", ["admin.example.org"]), { host: "admin.example.org:80" }), false);
  });
  test("methods are compared with regard to case", () => {
    assert.equal(matches(clause("method", ["GET"]), { method: "get" }), false);
  });
  test("each value of a repeated header is tried, and values are not joined (CVE-2026-26308)", () => {
    const asked = (value: string) => clause("header", [value], { argument: "X-Env" });
    const headers = { "x-env": ["dev", "prod"] };
    assert.equal(matches(asked("prod"), { headers }), true);
    assert.equal(matches(asked("dev,prod"), { headers }), false);
    assert.equal(matches(asked("staging"), { headers }), false);
  });
  test("a header is present when it is there and not empty", () => {
    const present = clause("header", ["*"], { argument: "x-a" });
    assert.equal(matches(present, { headers: { "x-a": ["1"] } }), true);
    assert.equal(matches(present, { headers: { "x-a": [""] } }), false);
    assert.equal(matches(present), false);
  });
  test("characters that mean something in a pattern mean themselves in every string attribute", () => {
    for (const odd of [".", "(", "[a]", "+", "?", "\\", "^", "$", "|", "{2}", "a*b"]) {
      assert.equal(matches(clause("path", [`/x${odd}y`]), { path: `/x${odd}y` }), true, odd);
      assert.equal(matches(clause("path", [`/x${odd}y`]), { path: "/xay" }), false, odd);
      assert.equal(matches(clause("header", [`*${odd}`], { argument: "x-a" }), { headers: { "x-a": [`z${odd}`] } }), true, odd);
    }
  });
  test("more exact values than are compared one by one give the same answers", () => {
    const many = ["/a", "/b", "/c", "/d", "/e", "/pre*", "*suf"];
    for (const path of ["/a", "/e", "/prefix", "/x-suf"]) assert.equal(matches(clause("path", many), { path }), true, path);
    assert.equal(matches(clause("path", many), { path: "/f" }), false);
    assert.equal(matches(clause("host", ["A", "B", "C", "D"]), { host: "d" }), true);
  });
});

describe("path templates (AZ-9)", () => {
  const literal = (value: string): TemplateSegment => ({ kind: "literal", value });
  const matchesTemplate = (segments: readonly TemplateSegment[], path: string) =>
    matches(clause("path", [{ kind: "template", text: "", segments }]), { path });

  test("one segment is exactly one and not empty", () => {
    const segments = [literal("users"), { kind: "one" } as const, literal("photos")];
    assert.equal(matchesTemplate(segments, "/users/7/photos"), true);
    for (const path of ["/users//photos", "/users/7/8/photos", "/users/7/photos/", "/users/7", "/xusers/7/photos"])
      assert.equal(matchesTemplate(segments, path), false, path);
  });
  test("the rest is zero or more segments, after its slash", () => {
    const segments = [literal("x"), { kind: "rest" } as const];
    for (const path of ["/x/", "/x/a", "/x/a/b", "/x//"]) assert.equal(matchesTemplate(segments, path), true, path);
    for (const path of ["/x", "/xy", "/y/x/"]) assert.equal(matchesTemplate(segments, path), false, path);
  });
  test("brackets, which Envoy's own uri_template does not know, are no way around a template", () => {
    assert.equal(matchesTemplate([literal("x"), { kind: "one" }], "/x/[a]"), true);
    assert.equal(matchesTemplate([literal("x"), { kind: "rest" }], "/x/a[1]/b"), true);
  });
  test("a literal's dot is a dot", () => {
    assert.equal(matchesTemplate([literal("a.b"), { kind: "one" }], "/aXb/q"), false);
  });
});

describe("what cannot be understood", () => {
  const compile = (asked: Clause) => () => compileDecision({ http: layers({ deny: [rule("d", when(asked))] }), tcp: OPEN });
  const refused = (error: unknown) => error instanceof AppError && error.code === "invalid-configuration";

  test("an attribute of another version is refused, so that its rule is never passed over", () => {
    assert.throws(compile({ ...clause("method", ["GET"]), attribute: "toString" as AttributeKey }), refused);
  });
  test("a value of a kind that does not fit its attribute is refused", () => {
    assert.throws(compile(clause("method", [{ kind: "port", port: 1 }])), refused);
    assert.throws(compile(clause("destinationPort", ["80"])), refused);
    assert.throws(compile(clause("sourceIp", ["10.0.0.1"])), refused);
    assert.throws(compile(clause("serviceAccount", ["a/b"])), refused);
  });
  test("a condition of an unknown kind is refused", () => {
    const odd = { kind: "perhaps" } as unknown as Condition;
    assert.throws(() => compileDecision({ http: layers({ allow: [rule("a", odd)] }), tcp: OPEN }), refused);
  });
  test("an HTTP clause matches no plain connection, and its negation every one", () => {
    const engine = (negated: boolean) =>
      compileDecision({ http: OPEN, tcp: layers({ deny: [rule("d", when(clause("method", ["GET"], { negated })))] }) });
    assert.equal(engine(false).tcp({ ...facts(), http: undefined }).effect, "allow");
    assert.equal(engine(true).tcp({ ...facts(), http: undefined }).effect, "deny");
  });
});
