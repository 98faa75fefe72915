import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { API, authorizationPolicy, meshOf } from "../../../test/fixture/yaml-mesh.ts";

/** What is told of a policy beside the fixture's workloads: `shop/api` (STRICT on 8080, a PERMISSIVE TCP port 9000) and `shop/other` (PERMISSIVE). */
function told(...policies: readonly string[]): readonly string[] {
  const { diagnostics } = meshOf(API + policies.join(""));
  return diagnostics.filter(({ code }) => code >= "GAR0200" && code < "GAR0207").map(({ code, message }) => `${code} ${message}`);
}

const rule = (action: string, text: string, app = "other") =>
  told(authorizationPolicy("p", `{ action: ${action}, selector: { matchLabels: { app: ${app} } }, rules: [${text}] }`));
const paths = (field: string, values: string) => `{ to: [{ operation: { ${field}: ${values} } }] }`;

/** The spellings that a warning shows. */
function witnesses(action: string, field: string, values: string): readonly string[] {
  const [warning = ""] = rule(action, paths(field, values));
  return [...warning.matchAll(/`([^`]+)`/g)].map(([, text = ""]) => text).slice(field.startsWith("not") ? 2 : 1);
}

describe("spellings that get past a rule", () => {
  for (const [what, values, expected] of [
    ["a path", "[/admin/users]", ["/ADMIN/USERS", "/admin/users;x=1", "//admin/users", "/admin%2fusers", "/admin/users/"]],
    ["a prefix", '["/admin/*"]', ["/ADMIN/", "//admin/", "/admin%2f"]],
    ["a suffix", '["*.php"]', ["/X.PHP", "/x.php;x=1", "/x.php/"]],
    ["a template", '["/users/{*}"]', ["/USERS/X", "//users/x", "/users%2fx", "/users/x/"]],
    ["what has no letter", "[/1]", ["/1;x=1", "//1", "/1/"]],
    ["a list that has some already", '["/a", "/A", "/a/", "//a"]', ["/a;x=1", "/A;x=1", "//A", "/A/", "/a/;x=1"]],
  ] as const)
    it(`are shown of ${what}`, () => assert.deepEqual(witnesses("DENY", "paths", values), expected));

  it("are shown of hosts: with a port, and with the dot of the root", () => {
    assert.deepEqual(witnesses("DENY", "hosts", '[a.example, "*.b.example"]'), [
      "a.example:80",
      "a.example.",
      "x.b.example:80",
      "x.b.example.",
    ]);
    assert.deepEqual(witnesses("DENY", "hosts", '["a.example*", "A.example:80"]'), []);
  });

  it("are shown of an ALLOW of all but some", () => {
    assert.deepEqual(witnesses("ALLOW", "notPaths", "[/admin]"), ["/ADMIN", "/admin;x=1", "//admin", "/admin/"]);
    assert.match(
      rule("ALLOW", paths("notHosts", "[a]"))[0] ?? "",
      /^GAR0202 ALLOW rule `shop\/p\[0\]` excludes hosts by `notHosts`, and so allows/,
    );
  });

  it("are told once of a rule, whatever the number of its operations, and once more of hosts", () => {
    const several = "{ to: [{ operation: { paths: [/a] } }, { operation: { paths: [/b], hosts: [h] } }, { operation: { paths: [/A] } }] }";
    const [ofPaths, ofHosts, ...more] = rule("DENY", several);
    assert.match(ofPaths ?? "", /^GAR0203 .* does not match the path `\/a;x=1`, .*`\/B`/);
    assert.match(ofHosts ?? "", /^GAR0203 .* does not match the host `h:80`, `h\.`/);
    assert.deepEqual(more, []);
  });

  it("are none of presence, nor of rules that nothing is to be got past", () => {
    for (const text of [paths("paths", '["*"]'), paths("methods", "[GET]")]) assert.deepEqual(rule("DENY", text), []);
    assert.deepEqual(rule("ALLOW", paths("paths", "[/admin]")), []);
    assert.deepEqual(rule("DENY", paths("notPaths", "[/open]")), []);
  });
});

describe("identities where mutual TLS is not required", () => {
  const from = (field: string, values = '["a"]') => `{ from: [{ source: { ${field}: ${values} } }] }`;
  const modes = (mode: string, ...policies: readonly string[]) =>
    told(
      `---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: other, namespace: shop }\nspec: { selector: { matchLabels: { app: other } }, mtls: { mode: ${mode} } }\n`,
      ...policies,
    );

  for (const [action, field, effect] of [
    ["ALLOW", "notPrincipals", "allows them, whoever they are"],
    ["DENY", "namespaces", "does not deny them"],
    ["DENY", "serviceAccounts", "does not deny them"],
    ["ALLOW", "notTrustDomains", "allows them, whoever they are"],
    ["AUDIT", "trustDomains", "does not note them"],
  ] as const)
    it(`are told of ${action} with ${field}: it ${effect}`, () => {
      const policy = authorizationPolicy("p", `{ action: ${action}, selector: { matchLabels: { app: other } }, rules: [${from(field)}] }`);
      const [permissive = "", ...more] = modes("PERMISSIVE", policy);
      const end = `PERMISSIVE at shop/other:8080: callers in plaintext have no identity there, and it ${effect}`;
      assert.ok(permissive.startsWith("GAR0204 ") && permissive.endsWith(end), permissive);
      assert.deepEqual(more, []);
      assert.match(modes("DISABLE", policy)[0] ?? "", /the mode is DISABLE at shop\/other:8080: no caller has an identity there/);
      assert.deepEqual(modes("STRICT", policy), []);
    });

  it("are told by port: the one that takes plaintext, of a workload whose others do not", () => {
    assert.match(rule("DENY", from("principals"), "api")[0] ?? "", /PERMISSIVE at shop\/api:9000: /);
  });

  it("are told of keys of `when` as well", () => {
    assert.match(rule("DENY", "{ when: [{ key: source.principal, values: [a] }] }")[0] ?? "", /^GAR0204 .* does not deny them$/);
  });

  for (const [action, field, effect] of [
    ["ALLOW", "principals", "never allows them"],
    ["DENY", "notNamespaces", "denies them all"],
    ["AUDIT", "notPrincipals", "notes them all"],
  ] as const)
    it(`are not told of ${action} with ${field} while mutual TLS is possible: it is closed to plaintext`, () => {
      const policy = authorizationPolicy("p", `{ action: ${action}, selector: { matchLabels: { app: other } }, rules: [${from(field)}] }`);
      assert.deepEqual(modes("PERMISSIVE", policy), []);
      assert.ok(modes("DISABLE", policy)[0]?.endsWith(`no caller has an identity there, and it ${effect}`));
    });

  const other = (name: string, action: string, text: string) =>
    authorizationPolicy(name, `{ action: ${action}, selector: { matchLabels: { app: other } }, rules: [${text}] }`);
  const evil = other("evil", "DENY", from("principals"));

  for (const [what, policy] of [
    ["the DENY that the help proposes", other("q", "DENY", from("notPrincipals", '["*"]'))],
    ["a DENY of the whole namespace", authorizationPolicy("q", `{ action: DENY, rules: [${from("notPrincipals", '["*"]')}] }`)],
    [
      "a DENY of plaintext on the port",
      other("q", "DENY", '{ from: [{ source: { notPrincipals: ["*"] } }], to: [{ operation: { ports: ["8080"] } }] }'),
    ],
    ["ALLOW rules that all ask for identities", other("q", "ALLOW", from("namespaces"))],
  ] as const)
    it(`are not told of beside ${what}`, () => {
      assert.equal(modes("PERMISSIVE", evil).length, 1);
      assert.deepEqual(modes("PERMISSIVE", evil, policy), []);
    });

  for (const [what, policy] of [
    [
      "a DENY of plaintext on some paths",
      other("q", "DENY", `{ from: [{ source: { notPrincipals: ["*"] } }], to: [{ operation: { methods: [GET] } }] }`),
    ],
    [
      "a DENY of plaintext on another port",
      other("q", "DENY", `{ from: [{ source: { notPrincipals: ["*"] } }], to: [{ operation: { ports: ["1"] } }] }`),
    ],
    ["an ALLOW rule that asks for none", other("q", "ALLOW", "{}")],
  ] as const)
    it(`are told of still beside ${what}`, () => assert.equal(modes("PERMISSIVE", evil, policy).length, 1));

  it("are told of with what remains of the rule, and not at ports that it does not name", () => {
    const either = "{ from: [{ source: { principals: [a] } }, { source: { ipBlocks: [10.0.0.1] } }] }";
    assert.match(rule("DENY", either)[0] ?? "", /^GAR0204 .*, and it denies them only where its other fields match$/);
    assert.deepEqual(rule("DENY", '{ from: [{ source: { principals: [a] } }], to: [{ operation: { ports: ["1"] } }] }'), []);
  });
});

describe("tokens", () => {
  const authentication = (rules: string) =>
    `---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: a, namespace: shop }\nspec: { selector: { matchLabels: { app: other } }, jwtRules: ${rules} }\n`;
  const OPTIONAL = authentication('[{ issuer: "https://a.example" }]');
  const asking = (action: string, text: string) =>
    authorizationPolicy("p", `{ action: ${action}, selector: { matchLabels: { app: other } }, rules: [${text}] }`);
  const PRINCIPAL = '{ from: [{ source: { requestPrincipals: ["*"] } }] }';
  const NO_PRINCIPAL = '{ from: [{ source: { notRequestPrincipals: ["*"] } }] }';

  it("that a rule asks for and nothing verifies are told of, with what comes of it", () => {
    assert.match(
      told(asking("ALLOW", PRINCIPAL))[0] ?? "",
      /^GAR0205 .* selects shop\/other: nobody's token counts there, and it never allows them$/,
    );
    assert.match(told(asking("DENY", NO_PRINCIPAL))[0] ?? "", /^GAR0205 .*, and it denies them all$/);
    const claim = '{ when: [{ key: "request.auth.claims[a]", values: [b] }] }';
    assert.match(told(asking("DENY", claim))[0] ?? "", /^GAR0205 .*, and it does not deny them$/);
  });

  const on = (source: string, port: number) => `{ from: [{ source: { ${source}: ["*"] } }], to: [{ operation: { ports: ["${port}"] } }] }`;

  it("are not told of where a rule names no port that speaks HTTP: there it does not match, or loses the field", () => {
    assert.deepEqual(rule("DENY", on("notRequestPrincipals", 8000)), []);
    for (const source of ["requestPrincipals", "notRequestPrincipals"])
      assert.deepEqual(rule("DENY", on(source, 9000), "api"), [
        "GAR0201 DENY rule `shop/p[0]` has HTTP fields, which fall away on TCP ports: it denies every connection to shop/api:9000",
      ]);
  });

  it("are told of by port at a workload that has TCP ports too", () => {
    assert.deepEqual(rule("DENY", on("notRequestPrincipals", 8080), "api"), [
      "GAR0205 DENY rule `shop/p[0]` asks for a token, and no RequestAuthentication selects shop/api:8080: nobody's token counts there, and it denies them all",
    ]);
  });

  it("are told of with what remains of the rule", () => {
    const either = '{ from: [{ source: { requestPrincipals: ["*"] } }, { source: { ipBlocks: [10.0.0.1] } }] }';
    assert.match(rule("DENY", either)[0] ?? "", /^GAR0205 .*, and it denies them only where its other fields match$/);
  });

  it("that are verified and that nothing requires are told of", () => {
    assert.match(told(OPTIONAL)[0] ?? "", /^GAR0206 RequestAuthentication `shop\/a` does not require a token/);
    for (const rules of [asking("DENY", NO_PRINCIPAL), asking("ALLOW", PRINCIPAL)]) assert.deepEqual(told(OPTIONAL, rules), []);
    assert.deepEqual(told(authentication('[{ issuer: "https://a.example", presence: REQUIRED }]')), []);
  });
});

describe("DENY rules with HTTP fields on TCP ports", () => {
  const widened = (text: string) => rule("DENY", text, "api").filter((warning) => warning.startsWith("GAR0201"));

  it("are told of with the ports, at the rule, and with what remains of it", () => {
    assert.match(
      widened(paths("methods", "[GET]"))[0] ?? "",
      /`shop\/p\[0\]` has HTTP fields.*: it denies every connection to shop\/api:9000$/,
    );
    const partly = "{ from: [{ source: { ipBlocks: [10.0.0.1] } }], to: [{ operation: { methods: [GET] } }] }";
    assert.match(widened(partly)[0] ?? "", /every connection that its other fields match to shop\/api:9000$/);
    const requester = '{ from: [{ source: { notRequestPrincipals: ["*"] } }] }';
    assert.match(widened(requester)[0] ?? "", /every connection to shop\/api:9000$/);
  });

  it("are told of where the rule names the TCP port itself", () => {
    for (const text of [
      '{ to: [{ operation: { methods: [GET], ports: ["9000"] } }] }',
      '{ to: [{ operation: { methods: [GET], ports: ["8080"] } }, { operation: { methods: [GET], ports: ["9000"] } }] }',
      '{ to: [{ operation: { methods: [GET], notPorts: ["8080"] } }] }',
      '{ to: [{ operation: { methods: [GET] } }], when: [{ key: destination.port, values: ["8080", "9000"] }] }',
    ])
      assert.match(widened(text)[0] ?? "", /: it denies every connection to shop\/api:9000$/);
    assert.deepEqual(widened('{ to: [{ operation: { methods: [GET], ports: ["8080"] } }, { operation: { ports: ["9000"] } }] }'), []);
    assert.deepEqual(widened('{ to: [{ operation: { methods: [GET], notPorts: ["9000"] } }] }'), []);
  });

  it("are not where the rule names its HTTP ports, in `to` or in `when`", () => {
    assert.deepEqual(widened('{ to: [{ operation: { methods: [GET], ports: ["8080"] } }] }'), []);
    assert.deepEqual(widened('{ to: [{ operation: { methods: [GET] } }], when: [{ key: destination.port, values: ["8080"] }] }'), []);
  });
});

describe("ALLOW rules with HTTP fields", () => {
  const allowing = (text: string) => rule("ALLOW", text, "api");
  const told = "GAR0201 ALLOW rule `shop/p[0]` has HTTP fields, which no TCP connection has: it allows nothing at shop/api:9000";

  it("are told of where they, or one operation of them, reach TCP ports alone", () => {
    assert.deepEqual(allowing('{ to: [{ operation: { methods: [GET], ports: ["9000"] } }] }'), [told]);
    assert.deepEqual(allowing('{ to: [{ operation: { methods: [GET] } }], when: [{ key: destination.port, values: ["9000"] }] }'), [told]);
    assert.deepEqual(allowing('{ to: [{ operation: { methods: [GET], ports: ["8080"] } }, { operation: { ports: ["9000"] } }] }'), [told]);
  });

  it("are not where they reach HTTP too, or no port, or have no such field", () => {
    for (const text of [
      paths("methods", "[GET]"),
      '{ to: [{ operation: { methods: [GET], ports: ["8080", "9000"] } }] }',
      '{ to: [{ operation: { methods: [GET], ports: ["1"] } }] }',
      paths("ports", '["9000"]'),
    ])
      assert.deepEqual(allowing(text), []);
  });
});
