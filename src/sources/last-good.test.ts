import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatDiagnostic } from "../core/diagnostic.ts";
import type { MeshObject } from "../policy/model.ts";
import { unreadableBecause } from "./file-problem.ts";
import { decodeBytes } from "./file-reader.ts";
import { applyLastGood, REMOVAL_HOLD_MS } from "./last-good.ts";
import type { ConfigurationSnapshot, FolderReading } from "./snapshot.ts";

const UNREADABLE = Symbol("a file that cannot be read");
const UNLISTABLE = Symbol("a folder that cannot be listed");

type Files = Readonly<Record<string, string | typeof UNREADABLE | typeof UNLISTABLE>>;

function reading(files: Files): FolderReading {
  return {
    files: Object.entries(files).map(([file, content]) => {
      if (typeof content === "string") return decodeBytes(file, Buffer.from(content));
      return unreadableBecause(file, content === UNREADABLE ? "file" : "folder", "EACCES");
    }),
  };
}

/** What a source does with one state of the files after the other; `at` is the time of each. */
function sequence(...steps: readonly (readonly [at: number, files: Files])[]): ConfigurationSnapshot {
  let snapshot: ConfigurationSnapshot | undefined;
  for (const [at, files] of steps) snapshot = applyLastGood(reading(files), snapshot, at);
  assert.ok(snapshot);
  return snapshot;
}

function policy(name: string, spec: string): string {
  return `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: shop}\nspec: ${spec}\n`;
}

const GOOD = '{action: DENY, rules: [{to: [{operation: {paths: ["/good"]}}]}]}';
const BETTER = '{action: DENY, rules: [{to: [{operation: {paths: ["/better"]}}]}]}';
const BAD = "{action: DENY, rules: [{tp: []}]}";
const ACCOUNT = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: cart, namespace: shop}\n";

/** An object in few words: its path, or that it is closed. */
function inWords(object: MeshObject): string {
  if (object.kind !== "AuthorizationPolicy") return object.kind;
  const words =
    object.rules === "invalid"
      ? "closed"
      : object.rules.flatMap(({ to }) => to.flat().flatMap(({ values }) => values.map((value) => ("value" in value ? value.value : ""))));
  return `${object.meta.name} ${object.action} ${words}${object.dryRun === true ? " dry run" : ""}`;
}

function inForce(snapshot: ConfigurationSnapshot): readonly string[] {
  return snapshot.objects.map(inWords);
}

function states({ statuses }: ConfigurationSnapshot): Readonly<Record<string, string>> {
  return Object.fromEntries(statuses.map(({ key, state }) => [key, state]));
}

function told({ diagnostics }: ConfigurationSnapshot): readonly string[] {
  return diagnostics.map(formatDiagnostic);
}

describe("a first reading", () => {
  it("puts valid objects in force", () => {
    const snapshot = sequence([0, { "a.yaml": `${policy("a", GOOD)}---\n${ACCOUNT}` }]);
    assert.deepEqual(inForce(snapshot), ["a DENY /good", "ServiceAccount"]);
    assert.deepEqual(states(snapshot), { "AuthorizationPolicy shop/a": "current", "ServiceAccount shop/cart": "current" });
    assert.deepEqual(told(snapshot), []);
  });

  it("closes an invalid policy, refuses any other invalid object, and says so", () => {
    const snapshot = sequence([0, { "a.yaml": `${policy("a", BAD)}---\n${ACCOUNT}tokens: []\n` }]);
    assert.deepEqual(inForce(snapshot), ["a DENY closed"]);
    assert.deepEqual(states(snapshot), { "AuthorizationPolicy shop/a": "closed", "ServiceAccount shop/cart": "refused" });
    assert.deepEqual(told(snapshot), [
      "a.yaml:4:31: error GAR0003: unknown field `spec.rules[0].tp`\n  help: did you mean `to`?; until then it is closed: it denies everything that it selects",
      "a.yaml:9:1: error GAR0003: unknown field `tokens`\n  help: the fields here are kind, apiVersion, metadata; until then the object does not exist",
    ]);
  });

  it("closes a policy that is defined twice over all that either may select", () => {
    const narrow = "{selector: {matchLabels: {app: cart}}, action: ALLOW, rules: [{}]}";
    const snapshot = sequence([0, { "a.yaml": policy("a", narrow), "b.yaml": policy("a", GOOD) }]);
    const [object] = snapshot.objects;
    assert.equal(object?.kind === "AuthorizationPolicy" && object.selector.size, 0);
    assert.deepEqual(inForce(snapshot), ["a DENY closed"]);
    assert.deepEqual(told(snapshot), [
      "b.yaml:1:1: error GAR0008: AuthorizationPolicy shop/a is defined twice: also at a.yaml:1:1\n  help: remove one of them; until then it is closed: it denies everything that it selects",
    ]);
  });

  it("enforces what stands for two policies of one name, unless each is a dry run", () => {
    const tried = policy("a", GOOD).replace("namespace: shop", 'namespace: shop, annotations: {istio.io/dry-run: "true"}');
    const both = (one: string, other: string) => inForce(sequence([0, { "a.yaml": one, "b.yaml": other }]));
    assert.deepEqual(both(tried, policy("a", GOOD)), ["a DENY closed"]);
    assert.deepEqual(both(policy("a", GOOD), tried), ["a DENY closed"]);
    assert.deepEqual(both(tried, tried), ["a DENY closed dry run"]);
  });

  it("leaves a warning without a consequence", () => {
    const snapshot = sequence([0, { "a.yaml": policy("a", "{selector: {}}") }]);
    assert.equal(snapshot.statuses[0]?.state, "current");
    assert.deepEqual(told(snapshot), [
      "a.yaml:4:18: warning GAR0011: `spec.selector` names no label and so selects every workload in scope\n  help: remove it, or name a label",
    ]);
  });
});

describe("a broken edit", () => {
  it("leaves the object's last valid form in force, and says so", () => {
    const snapshot = sequence([0, { "a.yaml": policy("a", GOOD) }], [1, { "a.yaml": policy("a", BAD) }]);
    assert.deepEqual(inForce(snapshot), ["a DENY /good"]);
    assert.deepEqual(states(snapshot), { "AuthorizationPolicy shop/a": "kept" });
    assert.deepEqual(told(snapshot), [
      "a.yaml:4:31: error GAR0003: unknown field `spec.rules[0].tp`\n  help: did you mean `to`?; until then its last valid form stays in force",
    ]);
  });

  it("leaves it in force through further broken edits, whatever the time", () => {
    const snapshot = sequence(
      [0, { "a.yaml": policy("a", GOOD) }],
      [1, { "a.yaml": policy("a", BAD) }],
      [1e6, { "a.yaml": policy("a", "5") }],
      [2e6, { "a.yaml": "[" }],
    );
    assert.deepEqual(inForce(snapshot), ["a DENY /good"]);
    assert.deepEqual(states(snapshot), { "AuthorizationPolicy shop/a": "kept" });
  });

  it("ends with the edit that mends it", () => {
    const snapshot = sequence(
      [0, { "a.yaml": policy("a", GOOD) }],
      [1, { "a.yaml": policy("a", BAD) }],
      [2, { "a.yaml": policy("a", BETTER) }],
    );
    assert.deepEqual(inForce(snapshot), ["a DENY /better"]);
    assert.deepEqual([states(snapshot), told(snapshot)], [{ "AuthorizationPolicy shop/a": "current" }, []]);
  });

  it("does not hold up another object, in its own file or another", () => {
    const before = { "a.yaml": `${policy("a", GOOD)}---\n${policy("b", GOOD)}`, "c.yaml": policy("c", GOOD) };
    const after = { "a.yaml": `${policy("a", BAD)}---\n${policy("b", BETTER)}`, "c.yaml": policy("c", BETTER) };
    assert.deepEqual(inForce(sequence([0, before], [1, after])), ["a DENY /good", "b DENY /better", "c DENY /better"]);
  });

  it("closes an object that was never valid, before and after", () => {
    const snapshot = sequence([0, { "a.yaml": policy("a", BAD) }], [1, { "a.yaml": policy("a", "5") }]);
    assert.deepEqual([inForce(snapshot), states(snapshot)], [["a DENY closed"], { "AuthorizationPolicy shop/a": "closed" }]);
  });

  it("does not remember a form from before the object was removed", () => {
    const gone = { "a.yaml": "" };
    const snapshot = sequence(
      [0, { "a.yaml": policy("a", GOOD) }],
      [1, gone],
      [1 + REMOVAL_HOLD_MS, gone],
      [500, { "a.yaml": policy("a", BAD) }],
    );
    assert.deepEqual(inForce(snapshot), ["a DENY closed"]);
  });

  it("that makes a policy a dry run takes its place, and one that cannot be tried leaves the enforced form in force", () => {
    const dryRun = policy("a", GOOD).replace("namespace: shop", 'namespace: shop, annotations: {istio.io/dry-run: "true"}');
    assert.deepEqual(inForce(sequence([0, { "a.yaml": policy("a", GOOD) }], [1, { "a.yaml": dryRun }])), ["a DENY /good dry run"]);
    const audit = dryRun.replace("DENY", "AUDIT");
    assert.deepEqual(inForce(sequence([0, { "a.yaml": policy("a", GOOD) }], [1, { "a.yaml": audit }])), ["a DENY /good"]);
    assert.deepEqual(inForce(sequence([0, { "a.yaml": audit }])), []);
  });
});

describe("a file that cannot be used", () => {
  const before = { "a.yaml": `${policy("a", GOOD)}---\n${ACCOUNT}`, "sub/b.yaml": policy("b", BAD) };
  const all = ["a DENY /good", "b DENY closed", "ServiceAccount"];

  it("keeps all its objects while it is not YAML", () => {
    const snapshot = sequence([0, before], [1e6, { ...before, "a.yaml": `${policy("a", BETTER)}---\n[` }]);
    assert.deepEqual(inForce(snapshot), all);
    assert.deepEqual(states(snapshot), {
      "AuthorizationPolicy shop/a": "kept",
      "AuthorizationPolicy shop/b": "closed",
      "ServiceAccount shop/cart": "kept",
    });
    assert.match(
      told(snapshot).join("\n"),
      /a\.yaml:\d+:\d+: error GAR0001: .*\n {2}help: mend it; until then what it said before stays in force/,
    );
  });

  it("keeps all its objects while it cannot be read", () => {
    assert.deepEqual(inForce(sequence([0, before], [1e6, { ...before, "a.yaml": UNREADABLE }])), all);
  });

  it("keeps all objects of a folder while that cannot be listed", () => {
    assert.deepEqual(inForce(sequence([0, before], [1e6, { "a.yaml": before["a.yaml"], sub: UNLISTABLE }])), all);
    assert.deepEqual(inForce(sequence([0, before], [1e6, { ".": UNLISTABLE }])), all);
  });

  it("keeps no object of a folder whose name only begins like that of one", () => {
    const files = { "sub2/b.yaml": policy("b", GOOD), sub: UNLISTABLE } as const;
    const steps = sequence([0, { "sub2/b.yaml": policy("b", GOOD) }], [1, { sub: UNLISTABLE }], [1 + REMOVAL_HOLD_MS, { sub: UNLISTABLE }]);
    assert.deepEqual(inForce(sequence([0, files])), ["b DENY /good"]);
    assert.deepEqual(inForce(steps), []);
  });

  it("does not hold an object back that another file defines meanwhile", () => {
    const snapshot = sequence([0, { "a.yaml": policy("a", GOOD) }], [1, { "a.yaml": UNREADABLE, "b.yaml": policy("a", BETTER) }]);
    assert.deepEqual(inForce(snapshot), ["a DENY /better"]);
  });

  it("loses what it no longer holds once it can be used again", () => {
    const usable = { "a.yaml": ACCOUNT };
    const snapshot = sequence(
      [0, { "a.yaml": `${policy("a", GOOD)}---\n${ACCOUNT}` }],
      [1, { "a.yaml": "[" }],
      [900, usable],
      [900 + REMOVAL_HOLD_MS, usable],
    );
    assert.deepEqual(inForce(snapshot), ["ServiceAccount"]);
  });
});

describe("a document that does not tell what it is", () => {
  const before = { "a.yaml": `${policy("a", GOOD)}---\n${policy("b", GOOD)}` };
  const later = (text: string): ConfigurationSnapshot => sequence([0, before], [1, { "a.yaml": text }], [1e6, { "a.yaml": text }]);

  const KEEPING: readonly (readonly [why: string, edited: string])[] = [
    ["its kind is misspelt", policy("a", GOOD).replace("AuthorizationPolicy", "AuthorizationPolic")],
    ["its version is not supported", policy("a", GOOD).replace("security.istio.io/v1", "security.istio.io/v9")],
    ["it has no version", policy("a", GOOD).replace("apiVersion: security.istio.io/v1\n", "")],
    ["it has no kind", policy("a", GOOD).replace("kind: AuthorizationPolicy\n", "")],
    ["its name is not one", policy("a", GOOD).replace("name: a,", "name: A_,")],
    ["its name is missing", policy("a", GOOD).replace("name: a,", "")],
    ["its namespace is not one", policy("a", GOOD).replace("namespace: shop", "namespace: 5")],
    ["its namespace is misspelt", policy("a", GOOD).replace("namespace: shop", "namspace: shop")],
    ["its namespace does not exist", policy("a", GOOD).replace("namespace: shop", "namespace: shopp")],
    ["its kind cannot be told", policy("a", GOOD).replace("kind: AuthorizationPolicy", "kind: Policy")],
    ["it is in a List", `apiVersion: v1\nkind: List\nitems:\n- ${policy("a", GOOD).trimEnd().replaceAll("\n", "\n  ")}\n`],
    ["it has another name, and is broken", policy("c", GOOD).replace("security.istio.io/v1", "security.istio.io/v9")],
    ["its metadata is not a map", policy("a", GOOD).replace(/metadata: .*/, "metadata: x")],
    ["it is not a map", "just text\n"],
  ];
  for (const [why, edited] of KEEPING) {
    it(`keeps the policy that it may be: ${why}`, () => {
      const snapshot = later(`${edited}---\n${policy("b", GOOD)}`);
      assert.equal(states(snapshot)["AuthorizationPolicy shop/a"], "kept");
      assert.equal(states(snapshot)["AuthorizationPolicy shop/b"], "current");
    });
  }

  it("says what holds until it is mended, and nothing of a kind that is none of ours", () => {
    const edited = policy("a", GOOD).replace("namespace: shop", "namspace: shop");
    assert.deepEqual(told(later(`${edited}---\n${policy("b", GOOD)}`)), [
      "a.yaml:3:21: error GAR0003: unknown field `metadata.namspace`\n  help: did you mean `namespace`?; until then what it said before stays in force",
    ]);
    const list = "apiVersion: v1\nkind: List\nitems: []\n";
    const help = "write its items as documents of their own, with `---` between them";
    const why = "a.yaml:1:1: error GAR0002: a List is not taken apart";
    assert.deepEqual(told(later(list)), [`${why}\n  help: ${help}; until then what it said before stays in force`]);
    assert.deepEqual(told(sequence([0, { "a.yaml": list }])), [`${why}\n  help: ${help}; until then nothing in it is in force`]);
    assert.doesNotMatch(told(later("apiVersion: apps/v1\nkind: Deployment\n")).join("\n"), /until then/);
  });

  it("keeps one that was renamed and broken at once, until that is mended", () => {
    const steps: readonly (readonly [number, Files])[] = [
      [0, { "a.yaml": policy("a", GOOD) }],
      [1, { "a.yaml": policy("c", BAD) }],
      [1e6, { "a.yaml": policy("c", BAD) }],
    ];
    assert.deepEqual(inForce(sequence(...steps)), ["a DENY /good", "c DENY closed"]);
    const mended = { "a.yaml": policy("c", BETTER) };
    assert.deepEqual(inForce(sequence(...steps, [2e6, mended], [3e6, mended])), ["c DENY /better"]);
  });

  it("is told as hidden where it may be a policy, and not otherwise", () => {
    const hidden = (text: string): number => sequence([0, { "a.yaml": text }]).hidden.length;
    const good = policy("a", GOOD);
    const policies = ["v1beta2\nkind: AuthorizationPolicy", "v1\nkind: Policy"].map((head) => good.replace(/v1\nkind: .*/, head));
    const unnamed = ["name: Deny_x,", ""].map((name) => good.replace("name: a,", name));
    const open = [good, policy("a", BAD), "apiVersion: apps/v1\nkind: Deployment\n", "apiVersion: v9\nkind: Sidecar\n"];
    assert.deepEqual([...policies, ...unnamed, "kind: List\n"].map(hidden), [1, 1, 1, 1, 1]);
    assert.deepEqual(open.map(hidden), [0, 0, 0, 0]);
  });

  it("is passed over, with a warning, where nothing in it says that it is an object", () => {
    for (const stray of [
      "replicas: 3\nimage: { tag: v1 }\n",
      "just text\n",
      "- a\n- { b: c }\n",
      '{"name": "shop", "version": "1.0.0"}\n',
    ]) {
      const { hidden, diagnostics } = sequence([0, { "values.yaml": stray }]);
      assert.deepEqual([hidden.length, diagnostics.map(({ code }) => code)], [0, ["GAR0216"]], stray);
    }
  });

  it("is told as hidden where an object that may stop something has slid below a key, into a list, or lost some of its own keys", () => {
    const good = policy("a", GOOD);
    const indented = good.trimEnd().replaceAll("\n", "\n  ");
    for (const text of [
      `deny:\n  ${indented}\n`,
      `- ${indented}\n`,
      `items:\n- ${indented}\n`,
      `deny:\n  ${indented.replace("security.istio.io/v1", "v1")}\n`,
      good.replace(/^apiVersion.*\nkind.*\n/, ""),
      "Kind: AuthorizationPolicy\n",
      "spec: { action: DENY, rules: [{}] }\n",
    ])
      assert.equal(sequence([0, { "a.yaml": text }]).hidden.length > 0, true, text);
  });

  it("says of a stray text in a file what it keeps", () => {
    assert.match(
      told(later(`replicas: 3\n---\n${policy("b", GOOD)}`)).join(),
      /^a\.yaml:1:1: warning GAR0216: .*\n {2}help: .*; until then what it said before stays in force$/,
    );
  });

  it("takes a namespace for one that exists once somebody is in it", () => {
    const account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: a, namespace: other }\n";
    const start = { "b.yaml": account, "a.yaml": policy("a", GOOD) };
    const moved = { "b.yaml": account, "a.yaml": policy("a", GOOD).replace("shop", "other") };
    assert.deepEqual(Object.keys(states(sequence([0, start], [1, moved], [1e6, moved]))), [
      "AuthorizationPolicy other/a",
      "ServiceAccount other/a",
    ]);
  });

  const LETTING_GO: readonly (readonly [why: string, other: string])[] = [
    ["another kind of the same name", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: shop}\n"],
    ["another of our kinds", "apiVersion: v9\nkind: Sidecar\nmetadata: {name: a, namespace: shop}\n"],
  ];
  for (const [why, other] of LETTING_GO) {
    it(`keeps nothing that it cannot be: ${why}`, () =>
      assert.deepEqual(inForce(later(`${other}---\n${policy("b", GOOD)}`)), ["b DENY /good"]));
  }

  it("keeps nothing where it is valid and moves to another namespace, or to another name in one that does not exist", () => {
    const other = { "ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n" };
    const moved = { ...other, "a.yaml": policy("a", GOOD).replace("shop", "other") };
    const keys = (snapshot: ConfigurationSnapshot): readonly string[] => Object.keys(states(snapshot));
    const start = { ...other, "a.yaml": policy("a", GOOD) };
    assert.deepEqual(keys(sequence([0, start], [1, moved], [1e6, moved])), ["AuthorizationPolicy other/a", "Namespace other"]);
    const renamed = { "a.yaml": policy("c", GOOD) };
    assert.deepEqual(keys(sequence([0, { "a.yaml": policy("a", GOOD) }], [1, renamed], [1e6, renamed])), ["AuthorizationPolicy shop/c"]);
  });

  it("keeps nothing of another file", () => {
    const elsewhere = { "b.yaml": "just text\n" };
    assert.deepEqual(inForce(sequence([0, before], [1, elsewhere], [1e6, elsewhere])), []);
  });
});

describe("a duplicate", () => {
  it("leaves the valid form in force that was there before it", () => {
    const snapshot = sequence([0, { "a.yaml": policy("a", GOOD) }], [1, { "a.yaml": policy("a", GOOD), "b.yaml": policy("a", BETTER) }]);
    assert.deepEqual([inForce(snapshot), states(snapshot)], [["a DENY /good"], { "AuthorizationPolicy shop/a": "kept" }]);
    assert.match(told(snapshot).join("\n"), /GAR0008: .*\n {2}help: remove one of them; until then its last valid form stays in force/);
  });

  it("ends when one of the two is removed, whichever it is", () => {
    const both = { "a.yaml": policy("a", GOOD), "b.yaml": policy("a", BETTER) };
    assert.deepEqual(inForce(sequence([0, both], [1, { "b.yaml": both["b.yaml"] }])), ["a DENY /better"]);
    assert.deepEqual(inForce(sequence([0, both], [1, { "a.yaml": both["a.yaml"] }])), ["a DENY /good"]);
  });

  it("is told for each further definition", () => {
    const snapshot = sequence([0, { "a.yaml": `${ACCOUNT}---\n${ACCOUNT}`, "b.yaml": ACCOUNT }]);
    assert.deepEqual(
      snapshot.diagnostics.map(({ code, place }) => `${code} ${place.file}:${place.line}`),
      ["GAR0008 a.yaml:5", "GAR0008 b.yaml:1"],
    );
  });
});

describe("a removal", () => {
  const there = { "a.yaml": `${policy("a", GOOD)}---\n${ACCOUNT}` };
  const without = { "a.yaml": ACCOUNT };

  it("takes effect once the object has been missing long enough", () => {
    const leaving = sequence([0, there], [10, without]);
    assert.deepEqual([inForce(leaving), states(leaving)["AuthorizationPolicy shop/a"]], [["a DENY /good", "ServiceAccount"], "leaving"]);
    assert.deepEqual(inForce(applyLastGood(reading(without), leaving, 10 + REMOVAL_HOLD_MS - 1)), ["a DENY /good", "ServiceAccount"]);
    assert.deepEqual(inForce(applyLastGood(reading(without), leaving, 10 + REMOVAL_HOLD_MS)), ["ServiceAccount"]);
  });

  it("is put off while the file is being written", () => {
    const leaving = sequence([0, there], [10, without]);
    const written = { ...reading(without), written: new Set(["a.yaml"]) };
    const still = applyLastGood(written, leaving, 10 + REMOVAL_HOLD_MS);
    assert.deepEqual(inForce(still), ["a DENY /good", "ServiceAccount"]);
    assert.deepEqual(inForce(applyLastGood(reading(without), still, 10 + 2 * REMOVAL_HOLD_MS)), ["ServiceAccount"]);
  });

  it("of a whole file takes effect likewise", () => {
    assert.deepEqual(inForce(sequence([0, there], [1, {}], [1 + REMOVAL_HOLD_MS, {}])), []);
  });

  it("of a closed policy takes effect likewise", () => {
    assert.deepEqual(inForce(sequence([0, { "a.yaml": policy("a", BAD) }], [1, {}], [1 + REMOVAL_HOLD_MS, {}])), []);
  });

  it("does not happen to an object that comes back in time, and its time starts anew", () => {
    const back = sequence([0, there], [10, without], [20, there]);
    assert.deepEqual(states(back)["AuthorizationPolicy shop/a"], "current");
    assert.deepEqual(inForce(applyLastGood(reading(without), back, 10 + REMOVAL_HOLD_MS)), ["a DENY /good", "ServiceAccount"]);
  });

  it("starts its time anew after the file could not be used", () => {
    const snapshot = sequence([0, there], [10, without], [20, { "a.yaml": "[" }], [1000, without]);
    assert.deepEqual(inForce(snapshot), ["a DENY /good", "ServiceAccount"]);
  });

  it("does not happen to an object that moves to another file", () => {
    const moved = sequence([0, there], [1, without], [2, { ...without, "b.yaml": policy("a", GOOD) }]);
    assert.deepEqual([inForce(moved), states(moved)["AuthorizationPolicy shop/a"]], [["a DENY /good", "ServiceAccount"], "current"]);
  });
});
