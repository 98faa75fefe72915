import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuthorizationLayers } from "../../compile/workload-policy.ts";
import { type Facts, formatBecause } from "../../policy/decision.ts";
import { compileDecision } from "./decide.ts";

const DIGEST = "ab".repeat(32);
const always = (policy: string) => ({ origin: { namespace: "shop", policy, rule: 0 }, condition: { kind: "always" } as const });
const LAYERS: AuthorizationLayers = { audit: [always("seen")], deny: [], allow: [always("all")] };
const engine = compileDecision({ http: LAYERS, tcp: LAYERS, revoked: [DIGEST] });

function facts(peerCertificate?: string): Facts {
  const address = { sourceIp: "127.0.0.1", remoteIp: "127.0.0.1", destinationIp: "127.0.0.1", destinationPort: 80, sni: "" };
  return {
    peer: "spiffe://cluster.local/ns/a/sa/b",
    ...address,
    http: undefined,
    ...(peerCertificate === undefined ? {} : { peerCertificate }),
  };
}

test("a peer with a revoked certificate is denied before all rules, and AUDIT still sees it", () => {
  for (const decide of [engine.http, engine.tcp]) {
    const { effect, because, audit } = decide(facts(DIGEST));
    assert.deepEqual([effect, formatBecause(because), audit.length], ["deny", "revoked", 1]);
  }
});

test("another certificate, and none at all, are decided by the rules", () => {
  for (const peerCertificate of ["cd".repeat(32), undefined]) {
    assert.equal(formatBecause(engine.http(facts(peerCertificate)).because), "shop/all[0]");
  }
});
