/** Conversion of old policies of any shape: old and new decide alike. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { convert } from "../../src/convert/convert.ts";
import { SETTINGS } from "../fixture/objects.ts";
import { assertAlike, documentsOf, newSide, oldDocuments, PLACES, request } from "./convert-sides.ts";
import { oldEffect } from "./old-semantics.ts";

const pick = <T>(...values: readonly T[]): fc.Arbitrary<readonly T[]> =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 });

/** At most `max` fields of a shape: with more, hardly any request would match. */
function few(max: number, shape: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Record<string, unknown>> {
  return fc.subarray(Object.keys(shape), { maxLength: max }).chain((requiredKeys) => {
    const chosen = Object.entries(shape).filter(([key]) => requiredKeys.includes(key));
    return fc.record(Object.fromEntries(chosen));
  });
}

const NAMES = ["cluster.local/ns/shop/sa/web", "cluster.local/ns/far/*", "*/sa/cart", "allAuthenticatedUsers"] as const;
const constraint = fc.oneof(
  fc.record({ key: fc.constant("destination.labels[version]"), values: pick("v1", "v2") }),
  fc.record({ key: fc.constant("destination.name"), values: pick("web", "a*", "db", "*i") }),
  fc.record({ key: fc.constant("destination.namespace"), values: pick("shop", "far") }),
  fc.record({ key: fc.constant("destination.port"), values: pick("28080", "28082", "29090") }),
  fc.record({ key: fc.constant("destination.ip"), values: pick("127.0.0.0/8", "10.0.0.0/30", "10.0.0.4") }),
  fc.record({ key: fc.constant("request.headers[X-Tier]"), values: pick("gold", "go*", "*") }),
);

function rule(host: string): fc.Arbitrary<unknown> {
  return few(3, {
    services: pick("*", `${host}.svc.cluster.local`, `*.${host.split(".")[1]}.svc.cluster.local`),
    methods: pick("GET", "*", "HE*"),
    notMethods: pick("HEAD", "P*"),
    paths: pick("/items", "/items/*", "*/reviews", "*"),
    notPaths: pick("/items/1", "*s"),
    hosts: pick("web.example", "api*"),
    ports: pick(28080, 28081, 28082, 29090),
    notPorts: pick(28081),
    constraints: fc.array(constraint, { minLength: 1, maxLength: 2 }),
  });
}

const subject = few(2, {
  user: fc.constantFrom("*", ...NAMES),
  names: pick(...NAMES, "allUsers"),
  notNames: pick(NAMES[0], NAMES[1]),
  namespaces: pick("shop", "fa*"),
  notNamespaces: pick("bad", "far"),
  ips: pick("10.1.0.0/16", "192.0.2.7"),
  notIps: pick("10.2.0.0/16"),
  properties: few(2, {
    "source.principal": fc.constantFrom("*", ...NAMES.slice(0, 3)),
    "source.namespace": fc.constantFrom("shop", "far"),
    "source.ip": fc.constantFrom("10.0.0.0/8", "192.0.2.7"),
    "request.headers[x-user]": fc.constantFrom("alice", "*"),
  }),
});

const targets = fc.record({
  services: fc.uniqueArray(fc.constantFrom("web.shop.svc.cluster.local", "api.shop.svc.cluster.local", "admin.shop.svc.cluster.local"), {
    maxLength: 2,
  }),
  namespaces: fc.uniqueArray(fc.constantFrom("shop", "far"), { maxLength: 1 }),
});

const rbac = { apiVersion: "rbac.istio.io/v1alpha1" };
const mode = fc.constantFrom("ENFORCED", "ENFORCED", "PERMISSIVE");

const config = fc.oneof(
  fc.constantFrom<unknown>({ mode: "ON" }, { mode: "OFF" }, { mode: "ON", enforcement_mode: "PERMISSIVE" }),
  targets.map((inclusion) => ({ mode: "ON_WITH_INCLUSION", inclusion })),
  targets.map((exclusion) => ({ mode: "ON_WITH_EXCLUSION", exclusion })),
);

function roleAndBindings(namespace: string, host: string): fc.Arbitrary<readonly unknown[]> {
  const bindings = fc.array(fc.record({ mode, subjects: fc.array(subject, { minLength: 1, maxLength: 2 }) }), { maxLength: 2 });
  return fc.tuple(fc.array(rule(host), { minLength: 1, maxLength: 2 }), bindings).map(([rules, some]) => [
    { ...rbac, kind: "ServiceRole", metadata: { name: "role", namespace }, spec: { rules } },
    ...some.map((spec, index) => ({
      ...rbac,
      kind: "ServiceRoleBinding",
      metadata: { name: `binding-${index}`, namespace },
      spec: { ...spec, roleRef: { kind: "ServiceRole", name: "role" } },
    })),
  ]);
}

const peers = fc.constantFrom<unknown>(
  [],
  [{ mtls: null }],
  [{ mtls: {} }],
  [{ mtls: { mode: "PERMISSIVE" } }],
  [{ mtls: { mode: "STRICT" } }],
);

function policy(name: string, some: readonly unknown[]): fc.Arbitrary<readonly unknown[]> {
  const document = peers.map((one) => ({
    apiVersion: "authentication.istio.io/v1alpha1",
    kind: "Policy",
    metadata: { name, namespace: "shop" },
    spec: { ...(some.length > 0 ? { targets: some } : {}), peers: one },
  }));
  return fc.option(document, { nil: undefined }).map((one) => (one === undefined ? [] : [one]));
}

const documents = fc
  .tuple(
    config.map((spec) => [{ ...rbac, kind: "ClusterRbacConfig", metadata: { name: "default" }, spec }]),
    roleAndBindings("shop", "api.shop"),
    roleAndBindings("far", "cart.far"),
    policy("default", []),
    policy("web", [{ name: "web" }, { name: "api", ports: [{ number: 80 }] }]),
    policy("other", [{ name: "admin", ports: [{ name: "http" }] }, { name: "db" }]),
  )
  .map((parts): readonly unknown[] => parts.flat());

describe("convert", () => {
  it("tells of an object that is valid today and that garrison does not have", () => {
    const spec = { rules: [{ constraints: [{ key: "experimental.envoy.filters.a[b]", values: ["c"] }] }] };
    const role = { ...rbac, kind: "ServiceRole", metadata: { name: "role", namespace: "shop" }, spec };
    const given = { subjects: [{ user: "*" }], roleRef: { kind: "ServiceRole", name: "role" } };
    const binding = { ...rbac, kind: "ServiceRoleBinding", metadata: { name: "binding", namespace: "shop" }, spec: given };
    const { objects, diagnostics } = convert(documentsOf([role, binding].map((one) => JSON.stringify(one)).join("\n---\n")), SETTINGS);
    assert.deepEqual(diagnostics, []);
    assert.match(objects[0]?.notes.at(-1)?.message ?? "", /^garrison refuses this object until it supports it: .*experimental/);
  });

  it("decides as the old objects did, whatever they are", () => {
    let compared = 0;
    let effects = new Set<string>();
    const property = fc.property(documents, fc.array(request, { minLength: 12, maxLength: 12 }), (all, requests) => {
      const text = all.map((one) => JSON.stringify(one)).join("\n---\n");
      const [side, old] = [newSide(text), oldDocuments(text)];
      assert.deepEqual(side.errors, [], text);
      for (const at of PLACES) for (const one of requests) assertAlike(text, side, old, at, one);
      compared += PLACES.length * requests.length;
      effects = new Set([...effects, ...PLACES.flatMap((at) => requests.map((one) => oldEffect(old, at, one)))]);
    });
    fc.assert(property, { numRuns: 200 });
    assert.ok(compared >= 10_000);
    assert.deepEqual([...effects].sort(), ["allow", "deny", "refused"]);
  });

  it("answers any document with diagnostics, never with an exception", () => {
    const word = fc.constantFrom(
      "Policy",
      "ServiceRole",
      "spec",
      "targets",
      "rules",
      "name",
      "mtls",
      "*",
      "peers",
      "jwt",
      "subjects",
      "metadata",
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ maxDepth: 4 }, word, fc.integer(), fc.constant(null), fc.array(tie("tree")), fc.dictionary(word, tie("tree"))),
    }));
    const kinds = fc.constantFrom("Policy", "MeshPolicy", "ServiceRole", "ServiceRoleBinding", "RbacConfig", "Other");
    const versions = fc.constantFrom("authentication.istio.io/v1alpha1", "rbac.istio.io/v1alpha1");
    fc.assert(
      fc.property(kinds, versions, tree, (kind, apiVersion, spec) => {
        const text = JSON.stringify({ apiVersion, kind, metadata: { name: "default" }, spec });
        const { objects, notes, diagnostics } = convert(documentsOf(text), SETTINGS);
        assert.ok(objects.length + notes.length + diagnostics.length > 0, text);
      }),
      { numRuns: 500 },
    );
  });
});
