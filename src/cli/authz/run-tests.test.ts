import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { API, authorizationPolicy, meshOf } from "../../../test/fixture/yaml-mesh.ts";
import { decodeTests, type TestCase } from "../../analyze/test-case.ts";
import { viewsOf } from "../../analyze/workload-view.ts";
import { AppError } from "../../core/error.ts";
import { Report } from "../../policy/decode/report.ts";
import { parseYamlDocuments } from "../../sources/yaml-documents.ts";
import type { ViewSource } from "./mesh-source.ts";
import { formatFailure, runTests } from "./run-tests.ts";

const MESH = meshOf(
  API + authorizationPolicy("open", '{ selector: { matchLabels: { app: api } }, rules: [{ to: [{ operation: { paths: ["/open"] } }] }] }'),
);
const source: ViewSource = async (name) => viewsOf(MESH, name);

function testsOf(...rows: readonly string[]): readonly TestCase[] {
  const report = new Report();
  const { documents } = parseYamlDocuments(`tests:\n${rows.map((row) => `  - ${row}\n`).join("")}`, "tests.yaml");
  const tests = documents.flatMap((node) => decodeTests(node, report) ?? []);
  assert.deepEqual(report.diagnostics, []);
  return tests;
}

const OPEN = "request: { from: spiffe://cluster.local/ns/web/sa/a, port: 8080, path: /open }";

describe("runTests", () => {
  it("passes what comes as expected, by effect, rule, or HTTP status", async () => {
    const tests = testsOf(
      `{ name: a, workload: shop/api, ${OPEN}, expect: allow, by: "shop/open[0]" }`,
      `{ name: b, workload: shop/api, ${OPEN}, expect: 200, audit: [] }`,
    );
    assert.deepEqual(
      (await runTests(source, tests)).map(({ result }) => result),
      ["pass", "pass"],
    );
  });

  it("fails another effect, and the right effect by another rule, with the explanation", async () => {
    const results = await runTests(
      source,
      testsOf(
        `{ name: effect, workload: shop/api, ${OPEN.replace("/open", "/x")}, expect: allow }`,
        `{ name: rule, workload: shop/api, ${OPEN}, expect: allow, by: "shop/else[0]" }`,
        `{ name: noted, workload: shop/api, ${OPEN}, expect: allow, audit: ["shop/note[0]"] }`,
      ),
    );
    assert.deepEqual(
      results.map(({ result }) => result),
      ["fail", "fail", "fail"],
    );
    const [effect, rule, noted] = results.map(formatFailure);
    assert.match(effect ?? "", /^tests\.yaml:2:5: effect \(shop\/api\): expected allow, got deny by default\n {2}ALLOW policies select/);
    assert.match(effect ?? "", /nearest: shop\/open\[0\] \(mesh\.yaml:\d+\): the path is `\/x`, not `\/open`$/);
    assert.match(rule ?? "", /expected allow by shop\/else\[0\], got allow by shop\/open\[0\]/);
    assert.match(noted ?? "", /expected allow with audit rules \[shop\/note\[0\]\], got allow by shop\/open\[0\] with audit rules \[\]/);
  });

  it("asks each workload behind a service", async () => {
    const results = await runTests(source, testsOf(`{ name: all, workload: shop/front, ${OPEN.replace("/open", "/x")}, expect: deny }`));
    assert.deepEqual(
      results.map(({ workload, result }) => `${workload} ${result}`),
      ["shop/api pass", "shop/other fail"],
    );
  });

  it("takes a caller by its account, and the service's own port or only port", async () => {
    const asked = "{ from: web/a, path: /open }";
    const results = await runTests(
      source,
      testsOf(
        "{ name: port, workload: shop/front, request: { from: web/a, port: 80, path: /open }, expect: allow }",
        `{ name: only, workload: shop/front, request: ${asked}, expect: allow }`,
      ),
    );
    assert.deepEqual(
      results.map(({ workload, result }) => `${workload} ${result}`),
      ["shop/api pass", "shop/other pass", "shop/api pass", "shop/other pass"],
    );
  });

  it("never passes a question that has no answer, whatever is expected of it", async () => {
    const results = await runTests(
      source,
      testsOf(
        `{ name: nobody, workload: shop/nobody, ${OPEN}, expect: refused }`,
        "{ name: which, workload: shop/api, request: { from: plaintext }, expect: refused }",
      ),
    );
    assert.deepEqual(
      results.map(({ result }) => result),
      ["error", "error"],
    );
    assert.match(
      formatFailure(results[0] ?? assert.fail()) ?? "",
      /^tests\.yaml:2:5: nobody \(shop\/nobody\): there is no workload and no service/,
    );
    assert.match(formatFailure(results[1] ?? assert.fail()) ?? "", /listens on several ports; say which with `port`: 8080, 9000$/);
  });

  it("skips what only a real Envoy can be asked", async () => {
    const results = await runTests(source, testsOf(`{ name: e, workload: shop/api, ${OPEN}, expect: deny, only: envoy }`));
    assert.deepEqual(
      results.map(({ result }) => result),
      ["skipped"],
    );
    assert.equal(formatFailure(results[0] ?? assert.fail()), undefined);
  });

  it("ends with the failure of a control plane that is away, which is no result", async () => {
    const away: ViewSource = async () => {
      throw new AppError("unavailable", "nothing answers");
    };
    await assert.rejects(runTests(away, testsOf(`{ name: a, workload: shop/api, ${OPEN}, expect: allow }`)), { code: "unavailable" });
  });
});

it("says where two engines disagree, also of what came as expected", async () => {
  const [passed] = await runTests(source, testsOf(`{ name: a, workload: shop/api, ${OPEN}, expect: allow }`));
  assert.ok(passed);
  assert.equal(formatFailure(passed), undefined);
  const offline = { effect: "refused", by: "", audit: [], why: "Jwt is expired", status: 401 } as const;
  assert.match(
    formatFailure({ ...passed, offline }) ?? "",
    /as expected, but the engines disagree: Envoy says allow by shop\/open\[0\] with audit rules \[\], the decision engine refused with 401 with audit rules \[\]; please report it$/,
  );
});
