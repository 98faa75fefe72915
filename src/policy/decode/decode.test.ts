/** What holds for any input at all; what each kind takes and refuses is in test/corpus/decode. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { rawNode } from "../../../test/fixture/raw-node.ts";
import { formatValueMatch } from "../pattern.ts";
import { closedForm, decodeObject, isClosedForm } from "./decode.ts";
import { LIMITS } from "./limits.ts";
import type { RawNode } from "./raw-node.ts";

const POLICY = {
  apiVersion: "security.istio.io/v1",
  kind: "AuthorizationPolicy",
  metadata: { name: "cart", namespace: "shop" },
  spec: {
    selector: { matchLabels: { app: "cart" } },
    action: "DENY",
    rules: [
      {
        from: [{ source: { principals: ["*"], notIpBlocks: ["10.0.0.0/8"] } }, { source: { serviceAccounts: ["a"] } }],
        to: [{ operation: { paths: ["/a/{*}"], ports: ["80"], methods: ["GET"] } }],
        when: [{ key: "request.headers[a]", values: ["b"], notValues: ["c"] }],
      },
    ],
  },
};

const VALID = [
  POLICY,
  {
    apiVersion: "security.istio.io/v1",
    kind: "PeerAuthentication",
    metadata: { name: "cart", namespace: "shop" },
    spec: { selector: { matchLabels: { app: "cart" } }, mtls: { mode: "STRICT" }, portLevelMtls: { "80": { mode: "DISABLE" } } },
  },
  {
    apiVersion: "networking.istio.io/v1",
    kind: "Sidecar",
    metadata: { name: "cart", namespace: "shop" },
    spec: {
      workloadSelector: { labels: { app: "cart" } },
      ingress: [{ port: { number: 1, protocol: "HTTP", name: "a" }, bind: "::1", defaultEndpoint: "unix:///a" }],
      egress: [{ port: { number: 1 }, bind: "127.0.0.1", hosts: ["./*"] }],
    },
  },
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "cart", namespace: "shop", labels: { a: "b" }, annotations: { a: "b" }, creationTimestamp: "2026-01-01T00:00:00Z" },
    spec: { selector: { app: "cart" }, type: "ClusterIP", ports: [{ name: "http", port: 80, targetPort: "web" }] },
  },
  {
    apiVersion: "networking.istio.io/v1",
    kind: "WorkloadEntry",
    metadata: { name: "cart", namespace: "shop" },
    spec: { address: "10.1.2.3", ports: { http: 1 }, labels: { app: "cart" }, serviceAccount: "cart" },
  },
  {
    apiVersion: "networking.istio.io/v1",
    kind: "ServiceEntry",
    metadata: { name: "cart", namespace: "shop" },
    spec: {
      hosts: ["a.example.com"],
      resolution: "DNS",
      location: "MESH_INTERNAL",
      ports: [{ number: 80, name: "http", protocol: "HTTP", targetPort: 81 }],
      endpoints: [{ address: "b.example.com", ports: { http: 1 }, labels: { a: "b" }, serviceAccount: "cart" }],
      subjectAltNames: ["spiffe://a/b", "10.1.2.3", "a.example.com"],
      exportTo: ["."],
    },
  },
  {
    apiVersion: "networking.istio.io/v1",
    kind: "DestinationRule",
    metadata: { name: "cart", namespace: "shop" },
    spec: {
      host: "*.example.com",
      workloadSelector: { matchLabels: { app: "cart" } },
      exportTo: ["*"],
      trafficPolicy: {
        tls: { mode: "MUTUAL", clientCertificate: "/c", privateKey: "/k", caCertificates: "/a", subjectAltNames: ["a"], sni: "b" },
        portLevelSettings: [{ port: { number: 1 }, tls: { mode: "DISABLE" } }],
      },
    },
  },
] as const;

const PLACE = { file: "f.yaml", line: 1, column: 1 };
const WORDS = [
  "apiVersion",
  "kind",
  "metadata",
  "spec",
  "name",
  "rules",
  "from",
  "v1",
  "Service",
  "AuthorizationPolicy",
  "security.istio.io/v1",
  "__proto__",
  "constructor",
  "*",
  "{*}",
  "",
];
const word = fc.oneof(fc.constantFrom(...WORDS), fc.string({ unit: "binary", maxLength: 20 }));
const scalar = fc.oneof(word, fc.constant("x".repeat(5000)), fc.integer(), fc.double(), fc.boolean(), fc.constant(null));

const { tree } = fc.letrec<{ tree: RawNode }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 5, depthSize: "small" },
    scalar.map((value): RawNode => ({ kind: "scalar", value, place: PLACE })),
    fc.constant<RawNode>({ kind: "unusable", reason: "is a riddle", help: "solve it", place: PLACE }),
    fc.array(tie("tree"), { maxLength: 4 }).map((items): RawNode => ({ kind: "list", items, place: PLACE })),
    fc
      .uniqueArray(fc.tuple(word, tie("tree")), { maxLength: 5, selector: ([key]) => key })
      .map((pairs): RawNode => ({ kind: "map", entries: pairs.map(([key, value]) => ({ key, value, place: PLACE })), place: PLACE })),
  ),
}));

/** The tree with one of its nodes, the `index`th in order, replaced, or its key renamed. */
function mutate(node: RawNode, index: number, replacement: RawNode, key: string | undefined): RawNode {
  let left = index;
  const visit = (current: RawNode): RawNode => {
    if (left-- === 0) return replacement;
    if (current.kind === "list") return { ...current, items: current.items.map(visit) };
    if (current.kind !== "map") return current;
    const entries = current.entries.map((entry) => {
      const renamed = left === 0 && key !== undefined && !current.entries.some((other) => other.key === key);
      if (!renamed) return { ...entry, value: visit(entry.value) };
      left--;
      return { ...entry, key };
    });
    return { ...current, entries };
  };
  return visit(node);
}

/** What every result must be, whatever went in. */
function checkResult(node: RawNode): void {
  const { object, valid, key, claim, diagnostics } = decodeObject(node);
  const isError = diagnostics.some(({ code }) => code !== "GAR0011");
  assert.equal(valid, !isError, "invalid if and only if an error is told");
  assert.equal(valid && (object === undefined || isClosedForm(object)), false, "a valid document has its object");
  assert.equal(!valid && object !== undefined && !isClosedForm(object), false, "an invalid document has no object but a closed one");
  assert.equal(object !== undefined && key === undefined, false, "an object has a key");
  assert.equal(key !== undefined && claim === undefined, false, "what has a key has a claim");
  assert.ok(diagnostics.length <= LIMITS.diagnostics);
  for (const { message, help = "" } of diagnostics) {
    assert.doesNotMatch(message + help, /[\p{Cc}\p{Zl}\p{Zp}\u202e]/u);
    assert.ok(message.length < 600, message);
  }
}

describe("decodeObject", () => {
  it("takes the objects that the other tests change", () => {
    for (const value of VALID) assert.deepEqual(decodeObject(rawNode(value)).diagnostics, []);
  });

  it("never throws, and answers consistently, for any tree", () => {
    fc.assert(fc.property(tree, checkResult), { numRuns: 500 });
  });

  it("never throws, and answers consistently, for a valid object of which one part is something else", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...VALID),
        fc.nat({ max: 40 }),
        tree,
        fc.option(word, { nil: undefined }),
        (value, index, replacement, key) => {
          checkResult(mutate(rawNode(value), index, replacement, key));
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("never loses a policy whose name can be read: it is valid or closed, and a closed one keeps no rule", () => {
    fc.assert(
      fc.property(fc.nat({ max: 40 }), tree, fc.option(word, { nil: undefined }), (index, replacement, key) => {
        const spec = mutate(rawNode(POLICY.spec), index, replacement, key);
        const root = rawNode({ apiVersion: POLICY.apiVersion, kind: POLICY.kind, metadata: POLICY.metadata });
        assert.equal(root.kind, "map");
        const entries = root.kind === "map" ? [...root.entries, { key: "spec", place: PLACE, value: spec }] : [];
        const { object, valid } = decodeObject({ kind: "map", entries, place: PLACE });
        assert.equal(object?.kind, "AuthorizationPolicy");
        assert.equal(object?.kind === "AuthorizationPolicy" && object.rules === "invalid", !valid);
      }),
      { numRuns: 1000 },
    );
  });

  it("keeps every string of a policy as it was written", () => {
    const value = fc.oneof(
      fc.string({ unit: "binary", minLength: 1, maxLength: 50 }),
      fc.stringMatching(/^[.+?^$()|[\]\\*/"'<>&%;`\n-]+$/),
    );
    const withoutBraces = value.filter((text) => !/[{}]/.test(text));
    fc.assert(
      fc.property(value, value, value, withoutBraces, value, (principal, host, method, path, header) => {
        const rules = [
          {
            from: [{ source: { principals: [principal] } }],
            to: [{ operation: { hosts: [host], methods: [method], paths: [path] } }],
            when: [{ key: "request.headers[a]", values: [header] }],
          },
        ];
        const { object, diagnostics } = decodeObject(rawNode({ ...POLICY, spec: { rules } }));
        assert.deepEqual(diagnostics, []);
        const [rule] = object?.kind === "AuthorizationPolicy" && object.rules !== "invalid" ? object.rules : [];
        const clauses = [...(rule?.from.flat() ?? []), ...(rule?.to.flat() ?? []), ...(rule?.when ?? [])];
        assert.deepEqual(
          clauses.flatMap(({ attribute, values }) => values.map((match) => [attribute, formatValueMatch(match)])),
          [
            ["principal", principal],
            ["host", host],
            ["method", method],
            ["path", path],
            ["header", header],
          ],
        );
      }),
    );
  });

  it("holds the limits of Istio (VA-6)", () => {
    const rules = (count: number): boolean => decodeObject(rawNode({ ...POLICY, spec: { rules: Array(count).fill({}) } })).valid;
    const from = (count: number): boolean =>
      decodeObject(rawNode({ ...POLICY, spec: { rules: [{ from: Array(count).fill({ source: { namespaces: ["a"] } }) }] } })).valid;
    assert.deepEqual([rules(512), rules(513), from(512), from(513)], [true, false, true, false]);
  });

  it("decodes a large policy in a time that grows with its size", () => {
    const ipBlocks = Array.from({ length: LIMITS.values }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`);
    const { valid } = decodeObject(rawNode({ ...POLICY, spec: { rules: [{ from: [{ source: { ipBlocks } }] }] } }));
    assert.equal(valid, true);
  });

  it("tells the first problems of a document full of them", () => {
    const spec = Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`rules${index}`, 1]));
    assert.equal(decodeObject(rawNode({ ...POLICY, spec })).diagnostics.length, LIMITS.diagnostics);
  });
});

describe("closedForm", () => {
  it("has no rule and no exception", () => {
    const closed = VALID.map((value) => decodeObject(rawNode(value)).object).map((object) =>
      object === undefined ? undefined : closedForm(object),
    );
    assert.deepEqual(
      closed.map((object) => object?.kind),
      ["AuthorizationPolicy", "PeerAuthentication", undefined, undefined, undefined, undefined, "DestinationRule"],
    );
    const [authorization, peer] = closed;
    const rule = closed.at(-1);
    assert.equal(rule?.kind === "DestinationRule" && rule.trafficPolicy, "invalid");
    assert.equal(authorization?.kind === "AuthorizationPolicy" && authorization.rules, "invalid");
    assert.deepEqual(peer?.kind === "PeerAuthentication" && [peer.mtls, peer.portLevelMtls.size], ["invalid", 0]);
  });
});
