import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuthorizationLayers, Condition } from "../../compile/workload-policy.ts";
import type { Facts } from "../../policy/decision.ts";
import type { Clause } from "../../policy/model.ts";
import { compileDecision } from "../decide/decide.ts";
import { withoutPeers } from "./outside-rules.ts";

const PEER: Clause = { attribute: "principal", argument: "", negated: false, values: [{ kind: "present" }] };
const STRANGER: Clause = { ...PEER, negated: true };
const PATH: Clause = { attribute: "path", argument: "", negated: false, values: [{ kind: "exact", value: "/a" }] };

type When = Omit<Extract<Condition, { readonly kind: "when" }>, "kind">;

const CONDITIONS: readonly When[] = [
  { from: [], to: [], when: [] },
  { from: [[PEER]], to: [], when: [] },
  { from: [[STRANGER]], to: [], when: [] },
  { from: [[PEER], [STRANGER]], to: [[PATH]], when: [] },
  { from: [[PEER, STRANGER]], to: [], when: [] },
  { from: [[STRANGER, PATH]], to: [], when: [] },
  { from: [[PEER, PATH], [PATH]], to: [], when: [] },
  { from: [], to: [[PATH]], when: [PEER] },
  { from: [], to: [[PATH]], when: [STRANGER] },
  { from: [], to: [], when: [STRANGER] },
];

function layersOf(condition: Condition): AuthorizationLayers {
  const rule = { origin: { namespace: "n", policy: "p", rule: 0 }, condition };
  return { audit: [rule], deny: [], allow: [rule] };
}

function outsider(path: string): Facts {
  const http = { method: "GET", path, host: "h", headers: new Map<string, readonly string[]>() };
  return { peer: undefined, sourceIp: "192.0.2.1", remoteIp: "192.0.2.1", destinationIp: "10.0.0.1", destinationPort: 443, sni: "", http };
}

test("rules without peers decide of everybody as the rules themselves do of somebody without an identity", () => {
  for (const condition of CONDITIONS) {
    const layers = layersOf({ kind: "when", ...condition });
    const [asked, rewritten] = [layers, withoutPeers(layers)].map((http) => compileDecision({ http, tcp: http }));
    for (const path of ["/a", "/b"])
      assert.deepEqual(rewritten?.http(outsider(path)), asked?.http(outsider(path)), JSON.stringify(condition));
  }
});

test("nothing in them asks for a peer any more", () => {
  for (const condition of CONDITIONS)
    assert.doesNotMatch(JSON.stringify(withoutPeers(layersOf({ kind: "when", ...condition }))), /principal/);
});

test("an ALLOW list stays one, also where none of its rules is left, and none stays none", () => {
  const { allow } = withoutPeers(layersOf({ kind: "when", from: [[PEER]], to: [], when: [] }));
  assert.deepEqual(
    allow?.map(({ condition }) => condition),
    [{ kind: "never" }],
  );
  assert.equal(withoutPeers({ audit: [], deny: [], allow: undefined }).allow, undefined);
});
