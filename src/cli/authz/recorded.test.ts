import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sampleRecord } from "../../../test/fixture/audit-store.ts";
import { API, authorizationPolicy, meshOf } from "../../../test/fixture/yaml-mesh.ts";
import type { Answer } from "../../analyze/answer.ts";
import { viewsOf } from "../../analyze/workload-view.ts";
import type { NewAuditRecord } from "../../audit/record.ts";
import { answerNow } from "./recorded.ts";

function now(yaml: string, record: Partial<NewAuditRecord>): Answer | undefined {
  const [view] = viewsOf(meshOf(API + yaml), "shop/api");
  assert.ok(view);
  const asked = { workload: "shop/api", port: 8080, caller: "spiffe://cluster.local/ns/web/sa/a", ...record };
  return answerNow(view, { id: 1, ...sampleRecord(asked) });
}

function rules(rule: string): string {
  return authorizationPolicy("p", `{ rules: [${rule}] }`);
}

describe("answerNow", () => {
  it("asks the rules in force of what the record holds", () => {
    const yaml = rules(
      '{ from: [{ source: { namespaces: ["web"], ipBlocks: ["127.0.0.1"] } }], to: [{ operation: { methods: ["GET"], paths: ["/photos/*"], ports: ["8080"], hosts: ["photo-backend"] } }] }',
    );
    assert.equal(now(yaml, {})?.by, "shop/p[0]");
    assert.deepEqual([now(yaml, { method: "PUT" })?.effect, now(yaml, { caller: "" })?.effect], ["deny", "deny"]);
  });

  it("leaves open what hangs on a header or on the server name, which nobody recorded", () => {
    for (const key of ["request.headers[x-a]", "connection.sni"]) {
      const answer = now(rules(`{ when: [{ key: "${key}", values: ["1"] }] }`), {});
      assert.equal(answer?.effect, "unknown", key);
      assert.deepEqual(
        answer.layers[2]?.rules.map(({ result }) => result),
        ["unknown"],
      );
    }
    assert.equal(now(rules('{ when: [{ key: "request.headers[x-a]", notValues: ["1"] }] }'), {})?.effect, "unknown");
  });

  it("leaves open whom proxies in front have named, which nobody recorded", () => {
    const yaml = rules('{ from: [{ source: { remoteIpBlocks: ["127.0.0.1"] } }] }');
    const mesh = "    defaultConfig: { gatewayTopology: { numTrustedProxies: 1 } }\n";
    const trusting = `---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata:\n  mesh: |\n${mesh}`;
    const tcp = { protocol: "tcp", port: 9000, method: "", path: "", host: "" } as const;
    assert.deepEqual([now(yaml, {})?.effect, now(yaml, tcp)?.effect], ["allow", "allow"]);
    assert.deepEqual([now(yaml + trusting, {})?.effect, now(yaml + trusting, tcp)?.effect], ["unknown", "allow"]);
  });

  it("takes a text that the record has cut for unknown, and one that it has not for known", () => {
    const yaml = rules('{ to: [{ operation: { paths: ["/a*"] } }] }');
    assert.equal(now(yaml, { path: `/a${"b".repeat(100)}…` })?.effect, "unknown");
    assert.equal(now(yaml, { path: "/ab" })?.effect, "allow");
  });

  it("asks the TCP rules of a connection", () => {
    const yaml = rules('{ from: [{ source: { namespaces: ["web"] } }] }');
    assert.equal(now(yaml, { protocol: "tcp", port: 9000, method: "", path: "", host: "" })?.by, "shop/p[0]");
  });

  it("has no answer for what was refused, and where the listener is gone or speaks another protocol now", () => {
    assert.equal(now("", { effect: "refused" }), undefined);
    assert.equal(now("", { port: 1 }), undefined);
    assert.equal(now("", { protocol: "tcp" }), undefined);
    assert.equal(now("", { port: 9000 }), undefined);
  });
});
