/** A configuration that goes wrong while the control plane serves: what is told, and what stays in force. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, type TestContext, test } from "node:test";
import type { GarrisonProcess } from "./garrison.ts";
import { allowPaths, meshFiles, OPEN_PATHS, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const place = new Place({ after }, meshFiles(UNUSED_PORTS));
let serve: GarrisonProcess;

before(async () => {
  serve = await place.serve();
});

/** Writes a file of the configuration; at the test's end it is again what it was. */
function edit(t: TestContext, file: string, change: (good: string) => string): void {
  const before = existsSync(join(place.config, file)) ? place.read(file) : undefined;
  t.after(() => (before === undefined ? place.remove(file) : place.write(file, before)));
  place.write(file, change(before ?? ""));
}

/** The files that the status tells of, by the names they have in the folder. */
async function untilProblemsIn(...files: readonly string[]) {
  const wanted = files.map((file) => join(place.config, file)).sort();
  return place.untilStatus(`problems in ${files.join(", ") || "no file"}`, ({ diagnostics }) => {
    const told = new Set(diagnostics.map(({ text }) => text.slice(0, text.indexOf(":"))));
    return [...told].sort().join() === wanted.join();
  });
}

const ORPHAN = `apiVersion: v1
kind: Service
metadata: { name: orphan, namespace: shop }
spec: { selector: { app: orphan }, ports: [{ name: http, port: 80 }] }
`;

const VALID = ["PeerAuthentication shop/default valid", "AuthorizationPolicy shop/client-reads valid"];

/** The form before a broken edit is in force, and marked as such. */
const KEPT = ["PeerAuthentication shop/default valid", "AuthorizationPolicy shop/client-reads kept"];

function statesOf({ policies }: Awaited<ReturnType<typeof untilProblemsIn>>): readonly string[] {
  return policies.map(({ policy, state }) => `${policy} ${state}`);
}

/** What the test before has written is taken back, and in force no more. */
beforeEach(() =>
  place.untilStatus("the mesh as it was", (status) => status.diagnostics.length === 0 && statesOf(status).join() === VALID.join()),
);

describe("a configuration that goes wrong under a running control plane", { timeout: 60_000 }, () => {
  test("a file that is no YAML: the last good state stays, status and log say where, and it can be mended", async (t) => {
    const good = place.read("policy.yaml");
    const mark = serve.mark;
    edit(t, "policy.yaml", (text) => text.replace("action: ALLOW", "action: [ALLOW"));
    const broken = await untilProblemsIn("policy.yaml");
    const text = broken.diagnostics[0]?.text ?? "";
    assert.match(text, /policy\.yaml:7:3: error GAR0001: the file is not YAML: /);
    assert.match(text, /\n {2}help: .*; until then what it said before stays in force$/);
    assert.deepEqual(statesOf(broken), KEPT);
    assert.match(await serve.line(/GAR0001/, mark), / error \S*policy\.yaml:7:3: error GAR0001: /);
    const { exit, stdout } = await place.run("status");
    assert.equal(exit, 0);
    assert.match(stdout, /AuthorizationPolicy shop\/client-reads {2}BROKEN, its last valid form is {2}enforced on /);
    assert.match(stdout, /\nProblems:\n {2}\S*policy\.yaml:7:3: error GAR0001: .*\n {4}help: /);

    place.write("policy.yaml", good);
    assert.deepEqual(statesOf(await untilProblemsIn()), VALID);
    assert.match(await serve.line(/configuration mended/, mark), /GAR0001/);
  });

  test("a field that nobody knows: the policy's last valid form stays, and the field that was meant is named", async (t) => {
    edit(t, "policy.yaml", (text) => text.replace("action:", "actoin:"));
    const broken = await untilProblemsIn("policy.yaml");
    assert.match(broken.diagnostics[0]?.text ?? "", /policy\.yaml:6:3: error GAR0003: .*`spec\.actoin`/);
    assert.match(broken.diagnostics[0]?.text ?? "", /\n {2}help: did you mean `action`\?; until then its last valid form stays in force$/);
    assert.deepEqual(statesOf(broken), KEPT);
  });

  test("a policy that never was valid is closed: status says so, and it lets nothing through", async (t) => {
    edit(t, "new.yaml", () => allowPaths(OPEN_PATHS).replace("client-reads", "client-writes").replace("methods", "verbs"));
    const broken = await untilProblemsIn("new.yaml");
    assert.match(broken.diagnostics[0]?.text ?? "", /GAR0003: .*`spec\.rules\[0\]\.to\[0\]\.operation\.verbs`/);
    assert.match(
      broken.diagnostics[0]?.text ?? "",
      /; until then it is closed: it allows nothing, and what no other policy allows is denied$/,
    );
    assert.deepEqual(statesOf(broken), [...VALID, "AuthorizationPolicy shop/client-writes closed"]);
    assert.match(
      (await place.run("status")).stdout,
      /AuthorizationPolicy shop\/client-writes {2}INVALID, closed {2}enforced on 0 of 1 workloads/,
    );
  });

  test("two files with one object: neither of them counts, the one from before stays, and both places are told", async (t) => {
    edit(t, "z-copy.yaml", () => allowPaths('["/everything"]'));
    const broken = await untilProblemsIn("z-copy.yaml");
    const text = broken.diagnostics[0]?.text ?? "";
    assert.match(
      text,
      /z-copy\.yaml:1:1: error GAR0008: AuthorizationPolicy shop\/client-reads is defined twice: also at \S*\/policy\.yaml:1:1/,
    );
    assert.match(text, /\n {2}help: remove one of them; until then its last valid form stays in force$/);
    assert.deepEqual(statesOf(broken), KEPT);
  });

  /** Edits that make the policy another object, or none: what it says at the place of the error. */
  const ANOTHER: readonly (readonly [why: string, change: (good: string) => string, told: RegExp])[] = [
    [
      "its namespace is misspelt",
      (text) => text.replace("namespace:", "namspace:"),
      /GAR0003: .*\n {2}help: did you mean `namespace`\?; until /,
    ],
    [
      "its namespace does not exist",
      (text) => text.replace("namespace: shop", "namespace: shopp"),
      /GAR0215: .*\n {2}help: did you mean `shop`\?; until then .* stays in force/,
    ],
    [
      "it is in a List",
      (text) => `apiVersion: v1\nkind: List\nitems:\n- ${text.trimEnd().replaceAll("\n", "\n  ")}\n`,
      /GAR0002: a List .*\n {2}help: write its items as documents of their own, .*; until then what it said before stays in force$/,
    ],
  ];
  for (const [why, change, told] of ANOTHER) {
    test(`a policy that no longer tells which it is stays in force: ${why}`, async (t) => {
      edit(t, "policy.yaml", change);
      const broken = await untilProblemsIn("policy.yaml");
      assert.match(broken.diagnostics.map(({ text }) => text).join("\n"), told);
      // What is removed after the edit is gone only once what was missing since the edit would be gone as well.
      place.write("late.yaml", allowPaths(OPEN_PATHS).replace("client-reads", "late"));
      await place.untilStatus("the later policy", (status) => statesOf(status).includes("AuthorizationPolicy shop/late valid"));
      place.remove("late.yaml");
      const later = await place.untilStatus(
        "no later policy",
        (status) => !statesOf(status).includes("AuthorizationPolicy shop/late valid"),
      );
      assert.ok(statesOf(later).includes("AuthorizationPolicy shop/client-reads kept"), statesOf(later).join());
    });
  }

  test("a Service without workloads is warned of, and the others stay", async (t) => {
    edit(t, "orphan.yaml", () => ORPHAN);
    const warned = await untilProblemsIn("orphan.yaml");
    assert.deepEqual(
      warned.diagnostics.map(({ severity }) => severity),
      ["warning"],
    );
    const text = warned.diagnostics[0]?.text ?? "";
    assert.match(text, /orphan\.yaml:\d+:\d+: warning GAR0101: service `shop\/orphan` selects no workload: calls to it fail\n {2}help: /);
    assert.match(await serve.line(/GAR0101/), / warn {2}\S*orphan\.yaml/);
  });
});

test("a file that is broken when the control plane starts stops it, since what it would deny is unknown", {
  timeout: 60_000,
}, async (t) => {
  const place = new Place(t, { ...meshFiles(UNUSED_PORTS), "broken.yaml": "kind: [\n" });
  const { exit, stderr } = await place.run("serve", "--config", place.config, "--listen", "127.0.0.1:0");
  assert.equal(exit, 3);
  assert.match(stderr, /garrison: the policies of a file are unknown, so nothing can be served\n.*broken\.yaml:2:1: error GAR0001: /);
  place.remove("broken.yaml");
  await place.serve();
});

const GOOD = allowPaths(OPEN_PATHS);
/** Policies that do not tell which they are. */
const HIDDEN: readonly (readonly [why: string, text: string, code: string])[] = [
  ["its version is not supported", GOOD.replace("security.istio.io/v1", "security.istio.io/v1beta2"), "GAR0002"],
  ["its name is not one", GOOD.replace("client-reads", "Deny_x"), "GAR0007"],
  ["it has no name", GOOD.replace("name: client-reads, ", ""), "GAR0005"],
  ["its namespace is misspelt", GOOD.replace("namespace:", "namspace:"), "GAR0003"],
  ["it is in a List", "apiVersion: v1\nkind: List\nitems: []\n", "GAR0002"],
];

describe("a policy that does not tell which it is stops a start", { timeout: 60_000, concurrency: 2 }, () => {
  for (const [why, text, code] of HIDDEN) {
    test(why, async (t) => {
      const place = new Place(t, { ...meshFiles(UNUSED_PORTS), "policy.yaml": text });
      const { exit, stderr } = await place.run("serve", "--config", place.config, "--listen", "127.0.0.1:0");
      assert.equal(exit, 3, stderr);
      assert.match(
        stderr,
        new RegExp(`garrison: the policies of a file are unknown, so nothing can be served\\n.*policy\\.yaml:\\d+:\\d+: error ${code}: `),
      );
    });
  }
});
