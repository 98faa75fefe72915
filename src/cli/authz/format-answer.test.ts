import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { API, authorizationPolicy, meshOf } from "../../../test/fixture/yaml-mesh.ts";
import { type Answer, answer } from "../../analyze/answer.ts";
import { viewsOf } from "../../analyze/workload-view.ts";
import { type Command, parseCommandLine } from "../command.ts";
import { EXPLAINING } from "./engine.ts";
import { formatAnswer } from "./format-answer.ts";
import { formatView } from "./format-view.ts";
import { REQUEST_OPTIONS, requestOf } from "./request-options.ts";

const COMMAND: Command = { name: "try", summary: "", options: REQUEST_OPTIONS, examples: [], run: async () => 0 };

function ask(yaml: string, ...flags: readonly string[]): Answer {
  const [view] = viewsOf(meshOf(API + yaml), "shop/api");
  assert.ok(view);
  return answer(EXPLAINING, view, requestOf(parseCommandLine(COMMAND, flags)));
}

const READ = authorizationPolicy(
  "read",
  '{ rules: [{ from: [{ source: { namespaces: ["web"] } }], to: [{ operation: { methods: ["GET"] } }] }, { to: [{ operation: { paths: ["/open"] } }] }] }',
);
const HTTP = ["--port", "8080"];

describe("formatAnswer", () => {
  it("says where a service's port leads, and asks there", () => {
    const [view] = viewsOf(meshOf(API), "shop/front");
    const said = formatAnswer(
      answer(EXPLAINING, view ?? assert.fail(), requestOf(parseCommandLine(COMMAND, ["--from", "a/b", "--port", "80"]))),
    );
    assert.match(said, /\n {2}service {3}shop\/front, whose port 80 leads to port 8080\n/);
    assert.match(said, /\n {2}listener {2}inbound_8080 on 127\.0\.0\.1:8080/);
  });

  it("names the peer, the listener with its mode, each layer in order, and the nearest miss first", () => {
    const [before, after] = formatAnswer(ask(READ, ...HTTP, "--from", "bank/clerk", "--method", "PUT", "--path", "/a/../b")).split("AUDIT");
    assert.match(before ?? "", /workload {2}shop\/api\n/);
    assert.match(before ?? "", /peer {6}spiffe:\/\/cluster\.local\/ns\/bank\/sa\/clerk, proved by mutual TLS, from 127\.0\.0\.1\n/);
    assert.match(
      before ?? "",
      /inbound_8080 on 127\.0\.0\.1:8080, http, mutual TLS STRICT by PeerAuthentication shop\/strict \(mesh\.yaml:\d+\)/,
    );
    assert.match(before ?? "", /request {3}PUT \/b, host api\n/);
    const lines = after?.split("\n").map((line) => line.replace(/ \(mesh\.yaml:\d+\)/, ""));
    assert.deepEqual(lines, [
      " no rule",
      "  DENY  no rule",
      "  ALLOW 2 rules",
      "    nearest: shop/read[1] does not match: the path is `/b`, not `/open`",
      "    shop/read[0] does not match: the peer's namespace is `bank`, not `web` (and 1 more)",
      "DENY by default: ALLOW policies select this workload, and none of their rules matches",
      "",
    ]);
  });

  it("says which DENY rule decides, and that ALLOW is not asked then", () => {
    const text = formatAnswer(
      ask(
        READ + authorizationPolicy("never", '{ action: DENY, rules: [{ to: [{ operation: { paths: ["/open"] } }] }] }'),
        ...HTTP,
        "--from",
        "web/a",
        "--path",
        "/open",
      ),
    );
    assert.match(
      text,
      /DENY {2}1 rule\n {4}shop\/never\[0\] \(mesh\.yaml:\d+\) matches\n {2}ALLOW not asked: a DENY rule has decided\nDENY by shop\/never\[0\]:/,
    );
  });

  it("names the AUDIT rules that match beside the decision", () => {
    const text = formatAnswer(ask(authorizationPolicy("note", "{ action: AUDIT, rules: [{}] }"), ...HTTP, "--from", "web/a"));
    assert.match(text, /ALLOW by no-policy: .*; AUDIT rules that match: shop\/note\[0\]\n$/);
  });

  it("says why a connection is refused, and asks no rule then", () => {
    const text = formatAnswer(ask(READ, ...HTTP, "--from", "plaintext"));
    assert.match(text, /peer {6}without an identity \(no client certificate\)/);
    assert.match(text, /STRICT.*\nREFUSED: plaintext, where the mode is STRICT\n$/);
    assert.match(
      formatAnswer(ask(READ, "--port", "1", "--from", "plaintext")),
      /listener {2}none\nREFUSED: the workload does not listen on port 1, but on [\d, ]+: ports are the workload's own\n$/,
    );
  });

  it("says that an ALLOW rule with HTTP fields matches no TCP connection", () => {
    const text = formatAnswer(ask(READ, "--port", "9000", "--from", "web/a"));
    assert.match(text, /shop\/read\[1\] \(mesh\.yaml:\d+\) does not match: it has a field of HTTP requests, and a TCP connection has none/);
    assert.doesNotMatch(text, /nearest:|^ {2}request/m);
  });

  it("says that a policy is invalid, and what its closed form does", () => {
    const deny = formatAnswer(ask(authorizationPolicy("typo", "{ action: DENY, rules: [{ nonsense: 1 }] }"), ...HTTP, "--from", "web/a"));
    assert.match(deny, /shop\/typo\[0\] \(mesh\.yaml:\d+\) matches: the policy is invalid, and so matches everything until it is mended/);
    const allow = formatAnswer(ask(authorizationPolicy("typo", "{ rules: [{ nonsense: 1 }] }"), ...HTTP, "--from", "web/a"));
    assert.match(allow, /does not match: the policy is invalid, and so matches nothing until it is mended/);
  });

  it("shows a dozen of many rules, the nearest first", () => {
    const rules = Array.from({ length: 30 }, (_, index) => `{ to: [{ operation: { methods: ["PUT"], paths: ["/${index}"] } }] }`);
    const text = formatAnswer(
      ask(
        authorizationPolicy("many", `{ rules: [${rules.join(", ")}, { to: [{ operation: { paths: ["/x"] } }] }] }`),
        ...HTTP,
        "--from",
        "web/a",
      ),
    );
    assert.match(text, /ALLOW 31 rules\n {4}nearest: shop\/many\[30\]/);
    assert.equal(text.match(/does not match/g)?.length, 12);
    assert.match(text, /and 19 that miss by no less; --json has all/);
  });
});

describe("formatView", () => {
  it("shows modes with their policy, the policies in force, and rules as sentences in the order of evaluation", () => {
    const yaml =
      READ + authorizationPolicy("no-put", '{ action: DENY, rules: [{ to: [{ operation: { methods: ["PUT"], ports: ["8080"] } }] }] }');
    const [view] = viewsOf(meshOf(API + yaml), "shop/api");
    assert.ok(view);
    const lines = formatView(view)
      .replaceAll(/ \(mesh\.yaml:\d+\)/g, "")
      .split("\n");
    assert.deepEqual(lines, [
      "shop/api (spiffe://cluster.local/ns/shop/sa/api)",
      "  mutual TLS of each port:",
      "    127.0.0.1:8080 http: STRICT by PeerAuthentication shop/strict",
      "    127.0.0.1:9000 tcp: PERMISSIVE by PeerAuthentication shop/strict",
      "  authorization policies in force, the oldest first:",
      "    DENY  shop/no-put: 1 rule",
      "    ALLOW shop/read: 2 rules",
      "  rules for HTTP, in the order in which they are asked:",
      "    DENY  shop/no-put[0] denies if the method is `PUT` and the destination port is `8080`",
      "    ALLOW shop/read[0] allows if the peer's namespace is `web` and the method is `GET`",
      "    ALLOW shop/read[1] allows if the path is `/open`",
      "    everything else is denied (default): an ALLOW policy selects the workload",
      "  rules for TCP, in the order in which they are asked:",
      "    DENY  shop/no-put[0] denies if the destination port is `8080`",
      "    ALLOW shop/read[0] allows nothing",
      "    ALLOW shop/read[1] allows nothing",
      "    everything else is denied (default): an ALLOW policy selects the workload",
      "",
    ]);
  });

  it("says so where nothing is in force", () => {
    const [view] = viewsOf(meshOf(API), "shop/other");
    assert.ok(view);
    const text = formatView(view);
    assert.match(text, /PERMISSIVE no PeerAuthentication says otherwise/);
    assert.match(text, /the oldest first:\n {4}none\n/);
    assert.match(text, /everything else is allowed \(no-policy\): no ALLOW policy selects the workload/);
  });
});
