import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { AuthorizationLayers, CompiledRule, Condition } from "../../compile/workload-policy.ts";
import type { AttributeKey } from "../../policy/attributes.ts";
import { type Facts, formatBecause } from "../../policy/decision.ts";
import { parseIpBlock } from "../../policy/ip-block.ts";
import type { Clause } from "../../policy/model.ts";
import { formatOrigin } from "../../policy/origin.ts";
import { parseStringMatch, type TemplateSegment, type ValueMatch } from "../../policy/pattern.ts";
import { compileCondition } from "./condition.ts";
import { DecisionContext } from "./context.ts";
import { compileDecision } from "./decide.ts";
import { type IndexedRule, RuleIndex } from "./rule-index.ts";

// === What rules and requests are made of: few texts, near to one another, so that they meet at their boundaries ===

const NAMESPACES = ["a", "b", "ab"];
const ACCOUNTS = ["x", "y", "xy"];
const PRINCIPALS = [
  ...NAMESPACES.flatMap((namespace) => ACCOUNTS.map((account) => `cluster.local/ns/${namespace}/sa/${account}`)),
  "other.org/ns/a/sa/x",
  "cluster.local/ns/a",
  "cluster.local/ns/a/sa/x/more",
  "",
];
const PATHS = ["/", "/a", "/a/", "/a/b", "/a/bc", "/a/b/c", "/A/b", "/x/b/c", "/x//c", ""];
const HOSTS = ["shop", "Shop", "shop:80", "a.shop", "A.SHOP", ""];
const ADDRESSES = ["10.0.0.1", "10.0.1.1", "10.1.0.1", "11.0.0.1", "::1", "2001:db8::1", "unix"];
const BLOCKS = ["10.0.0.1", "10.0.0.0/24", "10.0.0.0/20", "10.0.0.0/9", "0.0.0.0/0", "::/0", "2001:db8::/33", "::ffff:10.0.0.0/120"].map(
  parseIpBlock,
);
const CLAIMS = ["admin", "dev", "adm", "admin,dev", "https://issuer/a", ""];

const any = <T>(all: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...all);

/** A text as it is, and its beginnings and ends. */
function pattern(texts: readonly string[]): fc.Arbitrary<ValueMatch> {
  const part = fc.tuple(any(texts), fc.nat(40));
  return fc.oneof(
    { weight: 4, arbitrary: any(texts).map((value): ValueMatch => ({ kind: "exact", value })) },
    { weight: 2, arbitrary: part.map(([text, length]): ValueMatch => ({ kind: "prefix", value: text.slice(0, length) })) },
    { weight: 2, arbitrary: part.map(([text, length]): ValueMatch => ({ kind: "suffix", value: text.slice(length) })) },
    { weight: 1, arbitrary: any(["*", "a*", "*c"]).map(parseStringMatch) },
  );
}

const template: fc.Arbitrary<ValueMatch> = fc
  .array(any<TemplateSegment>([{ kind: "literal", value: "a" }, { kind: "literal", value: "b" }, { kind: "one" }, { kind: "rest" }]), {
    maxLength: 3,
  })
  .map((segments) => ({ kind: "template", text: "", segments }));
const account = fc
  .tuple(any(NAMESPACES), any(ACCOUNTS))
  .map(([namespace, name]): ValueMatch => ({ kind: "service-account", namespace, name }));
const block = any(BLOCKS).map((value): ValueMatch => ({ kind: "ip", block: value }));
const port = any([80, 443, 8080]).map((value): ValueMatch => ({ kind: "port", port: value }));

const VALUES: Readonly<Record<AttributeKey, fc.Arbitrary<ValueMatch>>> = {
  principal: pattern(PRINCIPALS),
  namespace: pattern(NAMESPACES),
  serviceAccount: account,
  trustDomain: pattern(["cluster.local", "other.org"]),
  sourceIp: block,
  remoteIp: block,
  destinationIp: block,
  host: pattern(HOSTS),
  method: pattern(["GET", "POST"]),
  path: fc.oneof({ weight: 3, arbitrary: pattern(PATHS) }, { weight: 1, arbitrary: template }),
  destinationPort: port,
  sni: pattern(HOSTS),
  header: pattern(CLAIMS),
  requestPrincipal: pattern(["https://issuer/a", "https://issuer/b", "issuer/a", "a"]),
  audience: pattern(CLAIMS),
  presenter: pattern(CLAIMS),
  claim: pattern(CLAIMS),
};
const KEYS = Object.keys(VALUES).filter((key): key is AttributeKey => key in VALUES);
const ARGUMENTS: Partial<Record<AttributeKey, readonly string[]>> = {
  header: ["x-role", "X-Role", "via"],
  claim: ["groups", "a][b", "aud"],
};

const clause: fc.Arbitrary<Clause> = any(KEYS).chain((attribute) =>
  fc.record({
    attribute: fc.constant(attribute),
    argument: any(ARGUMENTS[attribute] ?? [""]),
    values: fc.array(VALUES[attribute], { minLength: 1, maxLength: 5 }),
    negated: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  }),
);
const alternatives = fc.array(fc.array(clause, { maxLength: 2 }), { maxLength: 3 });
const condition: fc.Arbitrary<Condition> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant("when" as const),
      from: alternatives,
      to: alternatives,
      when: fc.array(clause, { maxLength: 2 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Condition>({ kind: "never" }) },
);
/** All rules of one list are of like kind now and then, as written policies are, so that their index has levels. */
const conditions: fc.Arbitrary<readonly Condition[]> = fc.oneof(
  fc.array(condition, { maxLength: 40, size: "max" }),
  fc.tuple(any(KEYS), any(KEYS)).chain(([first, second]) =>
    fc.array(
      fc
        .tuple(VALUES[first], VALUES[second])
        .map(([left, right]): Condition => ({ kind: "when", from: [[clauseOf(first, left)]], to: [], when: [clauseOf(second, right)] })),
      { minLength: 9, maxLength: 60, size: "max" },
    ),
  ),
);

function clauseOf(attribute: AttributeKey, value: ValueMatch): Clause {
  return { attribute, argument: ARGUMENTS[attribute]?.[0] ?? "", values: [value], negated: false };
}

const claimText = fc.oneof(any<unknown>(CLAIMS), fc.array(any<unknown>([...CLAIMS, 7]), { maxLength: 3 }), any<unknown>([undefined, 7]));
const requester = fc
  .record({
    iss: any<unknown>(["https://issuer", "issuer", "a", 7]),
    sub: any<unknown>(["a", "b", "", undefined]),
    aud: claimText,
    azp: claimText,
    groups: claimText,
    a: fc.record({ b: claimText }),
  })
  .map((claims) => ({ claims }));
const http = fc.record({
  method: any(["GET", "POST", "get"]),
  path: any(PATHS),
  host: any(HOSTS),
  headers: fc.tuple(fc.array(any(CLAIMS), { maxLength: 3 }), fc.array(any(CLAIMS), { maxLength: 2 })).map(
    ([role, via]): Map<string, string[]> =>
      new Map([
        ["x-role", role],
        ["via", via],
      ]),
  ),
});
const facts: fc.Arbitrary<Facts> = fc
  .record({
    peer: fc.option(any(PRINCIPALS.map((principal) => `spiffe://${principal}`).concat("https://x", "spiffe:/")), { nil: undefined }),
    sourceIp: any(ADDRESSES),
    remoteIp: any(ADDRESSES),
    destinationIp: any(ADDRESSES),
    destinationPort: any([80, 443, 81]),
    sni: any(HOSTS),
    http: fc.option(http, { nil: undefined }),
    token: fc.option(requester, { nil: undefined }),
  })
  .map(({ token, ...rest }) => (token === undefined ? rest : { ...rest, requester: token }));

function named(policy: string, all: readonly Condition[]): readonly CompiledRule[] {
  return all.map((one, rule) => ({ origin: { namespace: "ns", policy, rule }, condition: one }));
}

const layers: fc.Arbitrary<AuthorizationLayers> = fc
  .tuple(conditions, conditions, fc.option(conditions, { nil: undefined }))
  .map(([audit, deny, allow]) => ({ audit: named("audit", audit), deny: named("deny", deny), allow: allow && named("allow", allow) }));

// === The walk: every rule in its turn ===

function walk({ audit, deny, allow }: AuthorizationLayers): (asked: Facts) => string {
  const compile = (rules: readonly CompiledRule[]) =>
    rules.map(({ origin, condition: one }) => ({ origin: formatOrigin(origin), applies: compileCondition(one) }));
  const [audits, denies, allows] = [compile(audit), compile(deny), compile(allow ?? [])];
  return (asked) => {
    const context = new DecisionContext(asked);
    const audited = audits.filter(({ applies }) => applies(context)).map(({ origin }) => origin);
    const denied = denies.find(({ applies }) => applies(context));
    const allowed = allows.find(({ applies }) => applies(context));
    if (denied !== undefined) return `deny ${denied.origin} audit ${audited.join()}`;
    if (allowed !== undefined) return `allow ${allowed.origin} audit ${audited.join()}`;
    return `${allow === undefined ? "allow no-policy" : "deny default"} audit ${audited.join()}`;
  };
}

function indexed(http: AuthorizationLayers): (asked: Facts) => string {
  const engine = compileDecision({ http, tcp: http });
  return (asked) => {
    const { effect, because, audit } = engine.http(asked);
    return `${effect} ${formatBecause(because)} audit ${audit.map(formatOrigin).join()}`;
  };
}

/** An index over conditions that counts which rules are asked. */
function counting(all: readonly Condition[]): { readonly index: RuleIndex<IndexedRule>; readonly asked: number[] } {
  const asked: number[] = [];
  const rules = all.map((one, position): IndexedRule => {
    const applies = compileCondition(one);
    return {
      position,
      condition: one,
      applies: (context) => {
        asked.push(position);
        return applies(context);
      },
    };
  });
  return { index: new RuleIndex(rules), asked };
}

describe("an index of rules", () => {
  it("decides as the walk through every rule does, with the same origin and the same audit", () => {
    fc.assert(
      fc.property(layers, fc.array(facts, { minLength: 12, maxLength: 12 }), (policy, requests) => {
        assert.deepEqual(requests.map(indexed(policy)), requests.map(walk(policy)));
      }),
      { numRuns: 1500 },
    );
  });

  it("never asks more rules than there are, and none twice where all that apply are wanted of one text", () => {
    fc.assert(
      fc.property(conditions, facts, (all, request) => {
        const { index, asked } = counting(all);
        index.first(new DecisionContext(request));
        assert.ok(asked.length <= all.length, `${asked.length} of ${all.length}`);
        asked.length = 0;
        index.all(new DecisionContext(request));
        assert.ok(asked.length <= all.length, `${asked.length} of ${all.length}`);
      }),
      { numRuns: 1000 },
    );
  });

  const request: Facts = {
    peer: "spiffe://cluster.local/ns/ns-7/sa/app-77",
    sourceIp: "10.0.0.1",
    remoteIp: "10.0.0.1",
    destinationIp: "10.0.0.2",
    destinationPort: 8080,
    sni: "",
    http: { method: "GET", path: "/item-77/x", host: "shop", headers: new Map([["x-role", ["r-1", "r-2", "r-3"]]]) },
  };
  const exact = (value: string): ValueMatch => ({ kind: "exact", value });
  const numbers = Array.from({ length: 10_000 }, (_, number) => number);

  for (const [what, most, of] of [
    ["principals", 1, (n: number) => clauseOf("principal", exact(`cluster.local/ns/ns-${n % 50}/sa/app-${n}`))],
    ["path prefixes", 1, (n: number) => clauseOf("path", { kind: "prefix", value: `/item-${n}/` })],
    [
      "service accounts",
      1,
      (n: number) => clauseOf("serviceAccount", { kind: "service-account", namespace: `ns-${n % 50}`, name: `app-${n}` }),
    ],
    ["ports", 1, (n: number) => clauseOf("destinationPort", { kind: "port", port: n })],
    ["host suffixes", 1, (n: number) => clauseOf("host", { kind: "suffix", value: `.host-${n}` })],
    ["addresses", 1, (n: number) => clauseOf("sourceIp", { kind: "ip", block: parseIpBlock(`10.0.${n >> 8}.${n & 255}`) })],
  ] as const) {
    it(`asks at most ${most} of 10,000 rules for as many ${what}`, () => {
      const { index, asked } = counting(numbers.map((n): Condition => ({ kind: "when", from: [], to: [], when: [of(n)] })));
      index.first(new DecisionContext(request));
      assert.ok(asked.length <= most, `${asked.length} asked`);
    });
  }

  it("asks a few of 10,000 rules that only two attributes together tell apart", () => {
    const all = numbers.map((n): Condition => {
      const from = clauseOf("principal", exact(`cluster.local/ns/ns-${n % 100}/sa/app-77`));
      return {
        kind: "when",
        from: [[from]],
        to: [[clauseOf("path", { kind: "prefix", value: `/item-${Math.floor(n / 100)}/` })]],
        when: [],
      };
    });
    const { index, asked } = counting(all);
    assert.equal(index.first(new DecisionContext(request))?.position, 7707);
    assert.ok(asked.length <= 8, `${asked.length} asked`);
  });

  it("asks each rule once at most where a request shows a key of all of them many times", () => {
    const roles = ["r-1", "r-2", "r-3"].map(exact);
    const all = numbers.map((n): Condition => {
      const when = [{ attribute: "header", argument: "x-role", values: [...roles, exact(`r-${n + 4}`)], negated: false } as const];
      return { kind: "when", from: [], to: [], when: [...when, clauseOf("method", exact("PUT"))] };
    });
    const { index, asked } = counting(all);
    assert.equal(index.first(new DecisionContext(request)), undefined);
    assert.ok(asked.length <= 10_000, `${asked.length} asked`);
  });
});
