/** What `garrison authz` says of tokens: which rule takes them, and why not. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inSeconds, SigningKey } from "../../../test/fixture/tokens.ts";
import { API, meshObjects } from "../../../test/fixture/yaml-mesh.ts";
import { type Answer, answer } from "../../analyze/answer.ts";
import { evaluate } from "../../analyze/evaluate.ts";
import type { TestRequest } from "../../analyze/test-request.ts";
import { viewsOf, type WorkloadView } from "../../analyze/workload-view.ts";
import { compileMesh } from "../../compile/compile.ts";
import { type JwksLookup, UNKNOWN_KEYS } from "../../compile/request-authentication.ts";
import { AppError } from "../../core/error.ts";
import { type Command, parseCommandLine } from "../command.ts";
import { EXPLAINING, engineOf } from "./engine.ts";
import { formatAnswer } from "./format-answer.ts";
import { REQUEST_OPTIONS, requestOf } from "./request-options.ts";

const COMMAND: Command = { name: "try", summary: "", options: REQUEST_OPTIONS, examples: [], run: async () => 0 };
const KEY = new SigningKey("k");
const OTHER = new SigningKey("other");

function view(rules: string, keysOf: JwksLookup = UNKNOWN_KEYS): WorkloadView {
  const policy = `---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: users, namespace: shop }\nspec: { jwtRules: ${rules} }\n`;
  const [found] = viewsOf(compileMesh(meshObjects(API + policy), keysOf), "shop/api");
  assert.ok(found);
  return found;
}

function request(...flags: readonly string[]): TestRequest {
  return requestOf(parseCommandLine(COMMAND, ["--port", "8080", "--from", "web/a", ...flags]));
}

function ask(seen: WorkloadView, ...flags: readonly string[]): Answer {
  return answer(EXPLAINING, seen, request(...flags));
}

const inline = (more = "") => `[{ issuer: A, jwks: '${JSON.stringify({ keys: [KEY.jwk()] })}'${more} }]`;
const REMOTE = '[{ issuer: A, jwksUri: "https://a.example/keys" }]';

describe("a token that is refused", () => {
  for (const [what, rules, flags, reason] of [
    ["the issuer", inline(), ["--jwt", "{iss: B}"], /its issuer is `B`, and the rule takes `A`/],
    ["the clock", inline(), ["--jwt", "{iss: A, exp: 5}"], /it expired at 1970-01-01T00:00:05\.000Z \(exp\); it is 20\d\d-/],
    ["the time that has not come", inline(), ["--jwt", "{iss: A, nbf: 9999999999}"], /it is valid from 2286-11-20T17:46:39\.000Z on/],
    [
      "the audience",
      inline(", audiences: [shop]"),
      ["--jwt", "{iss: A, aud: x}"],
      /it is for `x` \(aud\), and the rule takes tokens for `shop`/,
    ],
    [
      "the key",
      inline(),
      ["--token", OTHER.token({ iss: "A" })],
      /none of the rule's 1 keys is called `other` \(kid\) and of algorithm `ES256`/,
    ],
    ["the signature", inline(), ["--token", OTHER.token({ iss: "A" }, { kid: "k" })], /its signature is not by a key of the rule/],
    ["its form", inline(), ["--token", "garbage"], /Jwt is not in the form of Header\.Payload\.Signature/],
  ] as const)
    it(`is explained by ${what}`, () => {
      const refused = ask(view(rules), ...flags);
      assert.deepEqual([refused.effect, refused.status], ["refused", what === "the audience" ? 403 : 401]);
      assert.match(refused.tokens[0]?.why ?? "", reason);
      assert.match(
        formatAnswer(refused),
        /\n {2}token not taken in the header `authorization`.*RequestAuthentication shop\/users, mesh\.yaml:\d+\)\nREFUSED with 40\d: /,
      );
    });
});

describe("a token that nobody looks at", () => {
  for (const [what, rules, flags, why] of [
    ["where there is no rule", "[]", [], /in the header `authorization`: no RequestAuthentication applies to the workload/],
    [
      "where rules look elsewhere",
      inline(),
      ["--token-in", "header=x-jwt"],
      /in the header `x-jwt`: no rule of a RequestAuthentication looks/,
    ],
  ] as const)
    it(`is told as ignored ${what}`, () => {
      const passed = ask(view(rules), "--jwt", "{iss: A}", ...flags);
      assert.equal(passed.effect, "allow");
      assert.match(passed.ignored?.join() ?? "", why);
      assert.match(formatAnswer(passed), /\n {2}token ignored in the header /);
    });

  it("is not told of one that a rule has taken", () => {
    assert.equal(ask(view(inline()), "--jwt", "{iss: A}").ignored, undefined);
  });
});

describe("a token whose issuer's keys are not known", () => {
  const raw = KEY.token({ iss: "A", sub: "alice", exp: inSeconds(600) });

  it("leaves the answer open, and a test of it without one", () => {
    const open = view(REMOTE);
    const unknown = ask(open, "--token", raw);
    assert.deepEqual([unknown.effect, unknown.by], ["unknown", ""]);
    assert.match(unknown.tokens[0]?.why ?? "", /keys are fetched, and a folder alone does not have them/);
    const isUnanswered = (thrown: unknown) => thrown instanceof AppError && thrown.code === "invalid-argument";
    assert.throws(() => evaluate(engineOf(open.policy), open.policy, request("--token", raw)), isUnanswered);
  });

  it("is refused all the same for what needs no key, and taken where it is given by its claims", () => {
    const open = view(REMOTE);
    assert.equal(ask(open, "--token", KEY.token({ iss: "B" })).status, 401);
    assert.equal(ask(open, "--jwt", "{iss: A, sub: alice}").requester, "A/alice");
  });

  it("is decided by a control plane, with the keys that it has or never got", () => {
    assert.equal(
      ask(
        view(REMOTE, () => KEY.publicKeys()),
        "--token",
        raw,
      ).requester,
      "A/alice",
    );
    const never = ask(
      view(REMOTE, () => []),
      "--jwt",
      "{iss: A}",
    );
    assert.deepEqual([never.status, never.why], [401, "Jwks remote fetch is failed"]);
  });
});

describe("tokens by flags", () => {
  it("stand where --token-in says", () => {
    for (const place of ["header=x-jwt", "param=t", "cookie=c"]) {
      const seen = view(inline(", fromHeaders: [{ name: x-jwt }], fromParams: [t], fromCookies: [c]"));
      assert.equal(ask(seen, "--jwt", '{"iss": "A", "sub": "alice"}', "--token-in", place).requester, "A/alice", place);
    }
  });

  for (const [what, flags] of [
    ["claims that are neither JSON nor YAML", ["--jwt", "{iss: ["]],
    ["a place that is none", ["--jwt", "{iss: A}", "--token-in", "body=x"]],
  ] as const)
    it(`are refused with ${what}`, () => {
      assert.throws(
        () => request(...flags),
        (thrown) => thrown instanceof AppError && thrown.code === "invalid-argument",
      );
    });
});
