import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { API, authorizationPolicy, meshOf } from "../../test/fixture/yaml-mesh.ts";
import { ruleInForce, viewsOf } from "./workload-view.ts";

const BROKEN = authorizationPolicy("broken", "{ action: DENY, rules: [{ nonsense: 1 }] }");
const MESH = meshOf(
  API + authorizationPolicy("open", "{ rules: [{}] }") + authorizationPolicy("broken", "{ action: DENY, rules: [{ nonsense: 1 }] }"),
);

describe("viewsOf", () => {
  it("finds a workload by its own name, and each workload behind a service by the service's", () => {
    const names = (name: string): readonly string[] => viewsOf(MESH, name).map(({ policy }) => policy.workload);
    assert.deepEqual(names("shop/api"), ["shop/api"]);
    assert.deepEqual(names("shop/front"), ["shop/api", "shop/other"]);
  });

  it("says of each port which PeerAuthentication gives its mode, and where that is written", () => {
    const [view] = viewsOf(MESH, "shop/api");
    assert.deepEqual(
      view?.policy.inbound.map(({ mtls }) => mtls),
      ["STRICT", "PERMISSIVE"],
    );
    for (const { mtlsBy } of view.ports) {
      assert.equal(mtlsBy?.name, "shop/strict");
      assert.deepEqual({ file: mtlsBy.place.file, closed: mtlsBy.closed }, { file: "mesh.yaml", closed: false });
    }
    assert.deepEqual(
      viewsOf(MESH, "shop/other").flatMap(({ ports }) => ports.map(({ mtlsBy }) => mtlsBy)),
      [undefined],
    );
  });

  it("lists the policies that select the workload, with which of them are closed", () => {
    const policies = viewsOf(MESH, "shop/other")[0]?.authorization.map(({ name, action, closed, rules }) => ({
      name,
      action,
      closed,
      rules: rules.length,
    }));
    assert.deepEqual(policies, [
      { name: "shop/broken", action: "DENY", closed: true, rules: 0 },
      { name: "shop/open", action: "ALLOW", closed: false, rules: 1 },
    ]);
  });

  it("says where each rule is written, and where the policy is for a rule of an invalid one", () => {
    const [view] = viewsOf(meshOf(`${API}${authorizationPolicy("two", "{ rules: [{},\n\n  {}] }")}${BROKEN}`), "shop/api");
    assert.ok(view);
    const lineOf = (policy: string, rule: number): number => ruleInForce(view, { namespace: "shop", policy, rule })?.place.line ?? 0;
    assert.equal(lineOf("two", 1) - lineOf("two", 0), 2);
    assert.ok(lineOf("broken", 0) > lineOf("two", 1));
    assert.equal(ruleInForce(view, { namespace: "shop", policy: "gone", rule: 0 }), undefined);
  });

  it("survives JSON, so that a control plane can tell it", () => {
    const views = viewsOf(MESH, "shop/front");
    assert.deepEqual(JSON.parse(JSON.stringify(views)), views);
  });

  it("refuses a name that nothing has, and says which was meant", () => {
    assert.throws(() => viewsOf(MESH, "shop/apu"), { code: "not-found", message: /`shop\/apu`/, help: "did you mean `shop/api`?" });
    assert.throws(() => viewsOf(MESH, "nowhere/at-all"), { code: "not-found", help: /NAMESPACE\/NAME/ });
  });

  it("refuses a service that selects no workload", () => {
    const mesh = meshOf(
      "apiVersion: v1\nkind: Service\nmetadata: { name: empty, namespace: shop }\nspec: { selector: { app: none }, ports: [{ name: http, port: 80 }] }",
    );
    assert.throws(() => viewsOf(mesh, "shop/empty"), { code: "not-found", message: /selects no workload/ });
  });
});
