import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import type { AuthorizationLayers, CompiledRule } from "../../compile/workload-policy.ts";
import type { Facts } from "../../policy/decision.ts";
import { formatEnvoyPolicyId } from "../../policy/origin.ts";
import { compileDecision } from "./decide.ts";

const NOTHING: AuthorizationLayers = { audit: [], deny: [], allow: undefined };

const asked = (path: string): Facts => ({
  peer: undefined,
  sourceIp: "127.0.0.1",
  remoteIp: "127.0.0.1",
  destinationIp: "127.0.0.1",
  destinationPort: 80,
  sni: "",
  http: { method: "GET", path, host: "a", headers: new Map() },
});

function inEnvoyOrder(rules: readonly CompiledRule[]): readonly CompiledRule[] {
  return rules.toSorted((left, right) => (formatEnvoyPolicyId(left.origin) < formatEnvoyPolicyId(right.origin) ? -1 : 1));
}

const PATHS = ["/a", "/b", "/c"];

/** Rules of policies whose names are of the list's own, so that no two rules have one name. */
const rulesNamed = (names: readonly string[]): fc.Arbitrary<readonly CompiledRule[]> =>
  fc
    .uniqueArray(fc.record({ policy: fc.constantFrom(...names), rule: fc.nat(11), paths: fc.subarray(PATHS, { minLength: 1 }) }), {
      selector: ({ policy, rule }) => `${policy}[${rule}]`,
      maxLength: 5,
    })
    .map((rules) =>
      inEnvoyOrder(
        rules.map(({ policy, rule, paths }): CompiledRule => {
          const values = paths.map((value) => ({ kind: "exact", value }) as const);
          const clause = { attribute: "path", argument: "", values, negated: false } as const;
          return { origin: { namespace: "n", policy, rule }, condition: { kind: "when", from: [], to: [[clause]], when: [] } };
        }),
      ),
    );

const maybe = (names: readonly string[]) => fc.option(rulesNamed(names), { nil: undefined });

it("a dry run decides what its policies would decide among all the others, and changes no decision", () => {
  const policies = fc.record({
    deny: rulesNamed(["a", "b-c"]),
    allow: maybe(["a", "b-c"]),
    triedDeny: rulesNamed(["a-b", "b"]),
    triedAllow: maybe(["a-b", "b"]),
  });
  fc.assert(
    fc.property(policies, fc.constantFrom(...PATHS, "/d"), ({ deny, allow, triedDeny, triedAllow }, path) => {
      const layers = { ...NOTHING, deny, allow };
      const merged = triedAllow === undefined ? allow : inEnvoyOrder([...(allow ?? []), ...triedAllow]);
      const decide = (http: AuthorizationLayers) => compileDecision({ http, tcp: NOTHING }).http(asked(path));
      const { dryRun, ...decision } = decide({ ...layers, dryRun: { deny: triedDeny, allow: triedAllow } });
      const { effect, because } = decide({ ...layers, deny: inEnvoyOrder([...deny, ...triedDeny]), allow: merged });
      assert.deepEqual(decision, decide(layers));
      assert.deepEqual(dryRun, { effect, because });
    }),
    { numRuns: 500 },
  );
});

it("without a dry run a decision tells of none", () => {
  assert.equal(compileDecision({ http: NOTHING, tcp: NOTHING }).http(asked("/a")).dryRun, undefined);
});
