/** The chart with Helm itself: it takes it, and makes the same of it as `garrison install`. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { globSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, describe, test } from "node:test";
import { parseAllDocuments } from "yaml";
import { type Manifest, readValues, renderChart } from "../../src/install/chart.ts";
import { nameOf } from "../../src/install/kinds.ts";
import { garrison } from "../feature/garrison.ts";

const TOOLS = process.env.GARRISON_GO_TOOLS ?? "";
const skip = TOOLS === "" && process.env.GARRISON_REQUIRE_GO !== "1" ? "there are no Go tools" : false;
const CHARTS = join(import.meta.dirname, "..", "..", "deploy", "helm");
const CHART = join(CHARTS, "garrison");
const REMOTE = join(CHARTS, "garrison-remote");
const FIXTURE = join(import.meta.dirname, "..", "fixture");
const VALUES = globSync(join(FIXTURE, "values", "*.yaml")).sort();
const REMOTE_VALUES = globSync(join(FIXTURE, "values-remote", "*.yaml")).sort();
const home = mkdtempSync(join(tmpdir(), "garrison-helm-"));
after(() => rmSync(home, { recursive: true, force: true }));

function helm(...args: readonly string[]): string {
  const env = { ...process.env, HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home, KUBECONFIG: join(home, "none") };
  return execFileSync(join(TOOLS, "helm"), args, { encoding: "utf8", env, stdio: ["ignore", "pipe", "pipe"] });
}

function objectsOf(text: string): ReadonlyMap<string, Manifest> {
  const objects = parseAllDocuments(text).map((document) => document.toJS() as Manifest | null);
  return new Map(objects.filter((object) => object !== null).map((object) => [nameOf(object), object]));
}

async function installed(flags: readonly string[]): Promise<ReadonlyMap<string, Manifest>> {
  const { exit, stdout, stderr } = await garrison(["install", "--dry-run", "client", ...flags]);
  assert.equal(exit, 0, stderr);
  return objectsOf(stdout);
}

describe("the chart", { skip, timeout: 120_000 }, () => {
  test("passes Helm's lint, warnings counted, with each file of values", () => {
    for (const values of [[], ...VALUES.map((file) => ["--values", file])])
      assert.match(helm("lint", "--strict", CHART, ...values), /0 chart\(s\) failed/);
  });

  for (const file of [undefined, ...VALUES]) {
    test(`is to Helm what it is to garrison install, with ${file === undefined ? "its own values" : basename(file)}`, async () => {
      const flags = file === undefined ? [] : ["--values", file];
      const ours = new Map(await installed(flags));
      // The one that `helm install --create-namespace` makes.
      assert.equal(ours.delete("Namespace garrison-system"), true);
      const theirs = objectsOf(helm("template", "garrison", CHART, "--namespace", "garrison-system", "--include-crds", ...flags));
      assert.deepEqual([...ours.keys()].sort(), [...theirs.keys()].sort());
      for (const [name, object] of ours) assert.deepEqual(object, theirs.get(name), name);
    });
  }

  test("of a remote cluster passes its lint too, and is to Helm what it is to garrison clusters join", () => {
    for (const file of [undefined, ...REMOTE_VALUES]) {
      const flags = file === undefined ? [] : ["--values", file];
      assert.match(helm("lint", "--strict", REMOTE, ...flags), /0 chart\(s\) failed/);
      const theirs = objectsOf(helm("template", "garrison-remote", REMOTE, "--namespace", "mesh", ...flags));
      const { objects } = renderChart("garrison-remote", "mesh", file === undefined ? [] : [readValues(file)]);
      assert.deepEqual(new Map(objects.map((object) => [nameOf(object), object])), theirs);
    }
  });

  for (const [what, values, told] of [
    ["the CA beside the control plane", "caNamespace: garrison-system", /`caNamespace` is the control plane's own namespace/],
    ["the CA beside the mesh's policies", "caNamespace: istio-system", /`caNamespace` is `rootNamespace`/],
    [
      "the CA beside other clusters' Secrets",
      "caNamespace: far\nmultiCluster: { enabled: true, secretsNamespace: far }",
      /`caNamespace` is `multiCluster\.secretsNamespace`/,
    ],
    [
      "an autoscaler whose least is more than its most",
      "autoscaling: { minReplicas: 9 }",
      /`autoscaling\.minReplicas` is more than `autoscaling\.maxReplicas`/,
    ],
    [
      "an address for other clusters that are not taken in",
      'multiCluster: { controlPlane: "mesh.example.org:15012" }',
      /`multiCluster\.controlPlane` without `multiCluster\.enabled`/,
    ],
    [
      "an address for pods of other clusters that nobody would inject",
      'injection: { enabled: false }\nmultiCluster: { enabled: true, controlPlane: "mesh.example.org:15012" }',
      /`multiCluster\.controlPlane` without `injection\.enabled`/,
    ],
  ] as const) {
    test(`refuses ${what}, as garrison install does`, async () => {
      const file = join(home, "refused.yaml");
      writeFileSync(file, `${values}\n`);
      assert.throws(() => helm("template", "garrison", CHART, "--namespace", "garrison-system", "--values", file), told);
      const refused = await garrison(["install", "--dry-run", "client", "--values", file]);
      assert.equal(refused.exit, 3);
      assert.match(refused.stderr, told);
    });
  }

  test("refuses a value that its schema does not know, as garrison install does", async () => {
    const file = join(home, "odd.yaml");
    writeFileSync(file, "replica: 3\n");
    assert.throws(() => helm("template", "garrison", CHART, "--values", file), /replica/);
    const refused = await garrison(["install", "--dry-run", "client", "--values", file]);
    assert.equal(refused.exit, 3);
    assert.match(refused.stderr, /has an unknown value `replica`/);
  });
});
