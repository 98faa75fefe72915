import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labels, meta, snapshotOf, workloadEntry } from "../../test/fixture/objects.ts";
import type { PublicJwk } from "../policy/jwks.ts";
import type { JwksSource, JwtRule, RequestAuthenticationObject } from "../policy/model.ts";
import { compileMesh } from "./compile.ts";
import { remoteJwksOf } from "./request-authentication.ts";

const KEY: PublicJwk = { kty: "OKP", crv: "Ed25519", kid: "k", alg: "EdDSA", x: "A".repeat(43) };
const REMOTE: JwksSource = { kind: "uri", url: "https://b.example/jwks", timeoutMs: 5_000 };

function rule(issuer: string, more: Partial<JwtRule> = {}): JwtRule {
  return {
    issuer,
    jwks: { kind: "inline", keys: [KEY] },
    audiences: [],
    fromHeaders: [],
    fromParams: [],
    fromCookies: [],
    forwardOriginalToken: false,
    outputPayloadToHeader: undefined,
    outputClaimToHeaders: [],
    spaceDelimitedClaims: [],
    presence: "OPTIONAL",
    ...more,
  };
}

function policy(key: string, jwtRules: readonly JwtRule[] | "invalid", app?: string): RequestAuthenticationObject {
  return { kind: "RequestAuthentication", meta: meta(key), selector: labels(app === undefined ? {} : { app }), jwtRules };
}

function rulesOf(policies: readonly RequestAuthenticationObject[], keys?: readonly PublicJwk[]) {
  const snapshot = snapshotOf([workloadEntry("shop/cart"), workloadEntry("shop/till"), ...policies]);
  const compiled = compileMesh(snapshot, keys === undefined ? undefined : () => keys);
  return compiled.policies.get("shop/cart")?.requestAuthentication;
}

describe("the token rules of a workload", () => {
  it("are absent where no policy selects it, or none has a rule", () => {
    const others = [policy("shop/till", [rule("a")], "till"), policy("other/all", [rule("a")]), policy("shop/empty", [])];
    assert.equal(rulesOf(others), undefined);
  });

  it("are those of every policy in its scope, by issuer", () => {
    const rules = rulesOf([policy("shop/cart", [rule("c"), rule("a")], "cart"), policy("istio-system/mesh", [rule("b")])]);
    assert.deepEqual(
      rules?.map(({ issuer }) => issuer),
      ["a", "b", "c"],
    );
  });

  it("have the default places only where they name none", () => {
    const [first, second] = rulesOf([policy("shop/all", [rule("a"), rule("b", { fromCookies: ["c"] })])]) ?? [];
    assert.deepEqual([first?.fromHeaders, first?.fromParams], [[{ name: "authorization", prefix: "Bearer " }], ["access_token"]]);
    assert.deepEqual([second?.fromHeaders, second?.fromParams, second?.fromCookies], [[], [], ["c"]]);
  });

  it("have their keys in them, fetched ones as far as they are there", () => {
    const policies = [policy("shop/all", [rule("a"), rule("b", { jwks: REMOTE })])];
    assert.deepEqual(
      rulesOf(policies)?.map(({ keys }) => keys),
      [[KEY], []],
    );
    const other = { ...KEY, kid: "other" };
    assert.deepEqual(
      rulesOf(policies, [other])?.map(({ keys }) => keys),
      [[KEY], [other]],
    );
    assert.deepEqual(remoteJwksOf(policies), [REMOTE]);
  });

  it("of an invalid policy refuse every request: a token must be there, and no key verifies it", () => {
    const [closed] = rulesOf([policy("shop/all", "invalid")]) ?? [];
    assert.deepEqual([closed?.presence, closed?.keys, closed?.issuer], ["REQUIRED", [], ""]);
  });

  it("survive JSON", () => {
    const rules = rulesOf([policy("shop/all", [rule("a", { outputPayloadToHeader: "x-p" })])]);
    assert.deepEqual(JSON.parse(JSON.stringify(rules)), rules);
  });

  it("have a status, with what the policy selects and whether it is closed", () => {
    const snapshot = snapshotOf([workloadEntry("shop/cart"), policy("shop/all", "invalid"), policy("shop/none", [], "nobody")]);
    const { statuses, diagnostics } = compileMesh(snapshot);
    assert.deepEqual(statuses, [
      { object: "RequestAuthentication shop/all", closed: true, workloads: ["shop/cart"] },
      { object: "RequestAuthentication shop/none", closed: false, workloads: [] },
    ]);
    assert.ok(diagnostics.some(({ code, message }) => code === "GAR0103" && message.includes("RequestAuthentication `shop/none`")));
  });
});
