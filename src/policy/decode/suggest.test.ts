import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { closest, suggestion } from "./suggest.ts";

const FIELDS = ["from", "to", "when", "principals", "notPrincipals", "matchLabels"];

describe("closest", () => {
  const CASES: readonly (readonly [text: string, meant: string | undefined])[] = [
    ["form", "from"],
    ["principal", "principals"],
    ["PRINCIPALS", "principals"],
    ["notprincipal", "notPrincipals"],
    ["matchLabel", "matchLabels"],
    ["wen", "when"],
    ["selector", undefined],
    ["", undefined],
    ["x", undefined],
    ["matchLabels".repeat(10), undefined],
  ];
  for (const [text, meant] of CASES) {
    it(`takes \`${text.slice(0, 20)}\` for ${meant ?? "nothing"}`, () => assert.equal(closest(text, FIELDS), meant));
  }

  it("does not take one kind of object for another", () => {
    const kinds = ["Namespace", "ServiceAccount", "Service", "WorkloadEntry", "Sidecar", "PeerAuthentication", "AuthorizationPolicy"];
    const others = [
      "RequestAuthentication",
      "ServiceEntry",
      "WorkloadGroup",
      "Deployment",
      "Secret",
      "Gateway",
      "VirtualService",
      "ConfigMap",
    ];
    assert.deepEqual(
      others.map((kind) => closest(kind, kinds)).filter((meant) => meant !== undefined),
      [],
    );
  });

  it("finds a word of the list itself, whatever list", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.stringMatching(/^[a-z]{1,30}$/), { minLength: 1 }), (words) =>
        words.every((word) => closest(word, words) === word),
      ),
    );
  });
});

describe("suggestion", () => {
  it("names the word that was meant", () => assert.equal(suggestion("form", FIELDS), "did you mean `from`?"));
  it("names all words where none was meant", () => assert.equal(suggestion("zzz", ["a", "b"]), "use one of `a`, `b`"));
  it("names the only word there is", () => assert.equal(suggestion("zzz", ["v1"]), "use `v1`"));
});
