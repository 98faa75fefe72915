/** `garrison convert` on every pair of `test/corpus/convert`: what it prints, what it says, and that old and new decide alike. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import fc from "fast-check";
import { parseAllDocuments } from "yaml";
import { evaluate } from "../../src/analyze/evaluate.ts";
import type { TestRequest } from "../../src/analyze/test-request.ts";
import { compileMesh } from "../../src/compile/compile.ts";
import { convert } from "../../src/convert/convert.ts";
import { severityOf } from "../../src/core/diagnostic.ts";
import { buildSnapshot } from "../../src/mesh/snapshot.ts";
import { decodeObject } from "../../src/policy/decode/decode.ts";
import type { RawNode } from "../../src/policy/decode/raw-node.ts";
import { parseYamlDocuments } from "../../src/sources/yaml-documents.ts";
import { SETTINGS } from "../fixture/objects.ts";
import { decisionEngine } from "./engine.ts";
import { type OldDocument, oldEffect, type Place } from "./old-semantics.ts";

const FOLDER = join(import.meta.dirname, "convert");
const CLI = join(import.meta.dirname, "..", "..", "src", "cli", "main.ts");
const MESH = readFileSync(join(FOLDER, "mesh.yaml"), "utf8");
const PAIRS = readdirSync(FOLDER).flatMap((name) => (name.endsWith(".in.yaml") ? [name.slice(0, -".in.yaml".length)] : []));
/** Set to write what comes out instead of comparing it. */
const isRewriting = process.env.GARRISON_REWRITE === "1";

function place(workload: string, address: string, port: number, service: string, servicePort: number, labels: Place["labels"]): Place {
  const isHttp = service !== "db";
  const [namespace = ""] = workload.split("/");
  return {
    workload,
    namespace,
    labels,
    address,
    port,
    isHttp,
    service: { name: service, port: servicePort, portName: isHttp ? "http" : "tcp" },
  };
}

/** Every port of `mesh.yaml`. */
const PLACES: readonly Place[] = [
  place("shop/web-1", "10.0.0.1", 28080, "web", 80, { app: "web", version: "v1" }),
  place("shop/web-2", "10.0.0.2", 28080, "web", 80, { app: "web", version: "v2" }),
  place("shop/api", "10.0.0.3", 28081, "api", 80, { app: "api" }),
  place("shop/api", "10.0.0.3", 28082, "admin", 81, { app: "api" }),
  place("shop/db", "10.0.0.4", 29090, "db", 5432, { app: "db" }),
  place("far/cart", "10.0.0.5", 28083, "cart", 80, { app: "cart" }),
];

// === Both sides of a comparison ===

function documentsOf(text: string): readonly RawNode[] {
  const { documents, diagnostic } = parseYamlDocuments(text, "in.yaml");
  assert.equal(diagnostic, undefined);
  return documents;
}

const MESH_OBJECTS = documentsOf(MESH).map((node) => decodeObject(node).object ?? assert.fail("mesh.yaml does not decode"));

interface Side {
  readonly errors: readonly string[];
  effect(place: Place, request: TestRequest): string;
}

/** The new side: objects that only try (dry run) enforce nothing, and the decoder leaves them out. */
function newSide(text: string): Side {
  const settings = { rootNamespace: "istio-system", clusterDomain: "cluster.local" };
  const { objects, diagnostics } = convert([...documentsOf(MESH), ...documentsOf(text)], settings);
  const texts = objects.map(({ object }) => JSON.stringify(object));
  const decoded = texts.flatMap((one) => documentsOf(one).map(decodeObject));
  const wrong = decoded.filter(({ valid }, index) => !valid && texts[index]?.includes("istio.io/dry-run") !== true);
  const { policies } = compileMesh(buildSnapshot(SETTINGS, [...MESH_OBJECTS, ...decoded.flatMap(({ object }) => object ?? [])]));
  return {
    errors: [...diagnostics, ...wrong.flatMap((one) => one.diagnostics)]
      .filter((one) => severityOf(one) === "error")
      .map(({ message }) => message),
    effect: ({ workload, port }, request) => {
      const policy = policies.get(workload);
      assert.ok(policy);
      return evaluate(decisionEngine(policy), policy, { ...request, port }).effect;
    },
  };
}

function oldDocuments(text: string): readonly OldDocument[] {
  return parseAllDocuments(text).map((document) => document.toJS() as OldDocument);
}

// === Requests ===

const identity = fc.constantFrom(
  undefined,
  "spiffe://cluster.local/ns/far/sa/cart",
  "spiffe://cluster.local/ns/shop/sa/web",
  "spiffe://cluster.local/ns/shop/sa/api",
  "spiffe://cluster.local/ns/bad/sa/cart",
);

const VALUES = ["gold", "golden", "alice", "v1"] as const;
const headers = fc.dictionary(fc.constantFrom("x-tier", "x-user"), fc.constantFrom(...VALUES), { maxKeys: 2 });

const request: fc.Arbitrary<TestRequest> = fc.record({
  from: identity,
  port: fc.constant(undefined),
  protocol: fc.constant(undefined),
  method: fc.constantFrom("GET", "HEAD", "POST"),
  path: fc.constantFrom("/items", "/items/1", "/items/1/reviews", "/reviews", "/health", "/"),
  host: fc.constantFrom("web.example", "api.example"),
  headers: headers.map((one) => new Map(Object.entries(one).map(([name, value]) => [name, [value]]))),
  sni: fc.constant(undefined),
  sourceIp: fc.constantFrom("10.1.2.3", "10.2.0.1", "192.0.2.7"),
});

function assertAlike(text: string, side: Side, old: readonly OldDocument[], at: Place, one: TestRequest): void {
  const asked = JSON.stringify({ ...one, workload: at.workload, port: at.port, headers: [...one.headers] });
  assert.equal(side.effect(at, one), oldEffect(old, at, one), `${asked}\n${text}`);
}

// === The pairs ===

/** A folder with the pair's input and the mesh that it is about. */
function inputFolder(t: TestContext, name: string): string {
  const folder = mkdtempSync(join(tmpdir(), "convert-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "old"));
  copyFileSync(join(FOLDER, "mesh.yaml"), join(folder, "old", "mesh.yaml"));
  copyFileSync(join(FOLDER, `${name}.in.yaml`), join(folder, "old", "old.yaml"));
  return folder;
}

function assertSame(file: string, text: string): void {
  const path = join(FOLDER, file);
  if (isRewriting) writeFileSync(path, text);
  assert.equal(text, existsSync(path) ? readFileSync(path, "utf8") : "", `${file}: run with GARRISON_REWRITE=1 to write what came out`);
}

function runConvert(
  cwd: string,
  ...argv: readonly string[]
): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  return spawnSync(process.execPath, [CLI, "convert", ...argv], { cwd, encoding: "utf8", timeout: 60_000 });
}

describe("garrison convert", () => {
  for (const name of PAIRS) {
    it(`turns ${name}.in.yaml into ${name}.out.yaml, and says what changed`, (t) => {
      const { status, stdout, stderr } = runConvert(inputFolder(t, name), "old", "--only-converted");
      assertSame(`${name}.out.yaml`, stdout);
      assertSame(`${name}.said.txt`, stderr);
      assert.equal(status, stderr.includes(": error GAR") ? 1 : 0);
    });
  }

  const equal = PAIRS.filter((name) => name !== "no-equal" && !name.startsWith("jwt-"));
  for (const name of equal) {
    it(`lets through after ${name}.in.yaml what the old objects let through`, () => {
      const text = readFileSync(join(FOLDER, `${name}.in.yaml`), "utf8");
      const [side, old] = [newSide(text), oldDocuments(text)];
      assert.deepEqual(side.errors, []);
      fc.assert(
        fc.property(fc.constantFrom(...PLACES), request, (at, one) => assertAlike(text, side, old, at, one)),
        { numRuns: 2000 },
      );
    });
  }

  it("writes files of the same names, with other objects as they were, and never over one that exists", (t) => {
    const folder = inputFolder(t, "peers");
    assert.equal(runConvert(folder, "old", "-o", "new").status, 0);
    assert.deepEqual(readdirSync(join(folder, "new")).sort(), ["mesh.yaml", "old.yaml"]);
    assert.equal(readFileSync(join(folder, "new", "mesh.yaml"), "utf8"), MESH);
    const again = runConvert(folder, "old", "-o", "new");
    assert.equal(again.status, 4);
    assert.match(again.stderr, /new\/mesh\.yaml: the file exists already/);
    execFileSync(process.execPath, [CLI, "check", "new"], { cwd: folder });
  });

  it("leaves the comments, the order and the quotes of other objects alone", (t) => {
    const folder = inputFolder(t, "off");
    const other = "# mine\nkind: ConfigMap # and this\nmetadata: {name: 'x'}\napiVersion: v1\n";
    writeFileSync(join(folder, "old", "zz.yaml"), `---\n${other}---\n# last\nkind: Other\n`);
    const { stdout } = runConvert(folder, join("old", "zz.yaml"));
    assert.equal(stdout, `${other}---\n# last\nkind: Other\n`);
  });
});

// === Policies of any shape ===

const pick = <T>(...values: readonly T[]): fc.Arbitrary<readonly T[]> =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 });
const maybe = (shape: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Record<string, unknown>> =>
  fc.record(shape, { requiredKeys: [] });

const NAMES = ["cluster.local/ns/shop/sa/web", "cluster.local/ns/far/*", "*/sa/cart", "allAuthenticatedUsers"] as const;
const constraint = fc.oneof(
  fc.record({ key: fc.constant("destination.labels[version]"), values: pick("v1", "v2") }),
  fc.record({ key: fc.constant("destination.name"), values: pick("web", "a*", "db", "*i") }),
  fc.record({ key: fc.constant("destination.namespace"), values: pick("shop", "far") }),
  fc.record({ key: fc.constant("destination.port"), values: pick("28080", "28082", "29090") }),
  fc.record({ key: fc.constant("destination.ip"), values: pick("127.0.0.0/8", "10.0.0.0/30", "10.0.0.4") }),
  fc.record({ key: fc.constant("request.headers[X-Tier]"), values: pick("gold", "go*", "*") }),
);

function rule(host: string): fc.Arbitrary<unknown> {
  return maybe({
    services: pick("*", `${host}.svc.cluster.local`, `*.${host.split(".")[1]}.svc.cluster.local`),
    methods: pick("GET", "*", "HE*"),
    notMethods: pick("HEAD", "P*"),
    paths: pick("/items", "/items/*", "*/reviews", "*"),
    notPaths: pick("/items/1", "*s"),
    hosts: pick("web.example", "api*"),
    ports: pick(28080, 28081, 28082, 29090),
    notPorts: pick(28081),
    constraints: fc.uniqueArray(constraint, { maxLength: 2, selector: ({ key }) => key }),
  });
}

const subject = maybe({
  user: fc.constantFrom("*", ...NAMES),
  names: pick(...NAMES, "allUsers"),
  notNames: pick(NAMES[0], NAMES[1]),
  namespaces: pick("shop", "fa*"),
  notNamespaces: pick("bad", "far"),
  ips: pick("10.1.0.0/16", "192.0.2.7"),
  notIps: pick("10.2.0.0/16"),
  properties: maybe({
    "source.principal": fc.constantFrom("*", ...NAMES.slice(0, 3)),
    "source.namespace": fc.constantFrom("shop", "far"),
    "source.ip": fc.constantFrom("10.0.0.0/8", "192.0.2.7"),
    "request.headers[x-user]": fc.constantFrom("alice", "*"),
  }),
});

const targets = fc.record({
  services: fc.uniqueArray(fc.constantFrom("web.shop.svc.cluster.local", "api.shop.svc.cluster.local", "admin.shop.svc.cluster.local"), {
    maxLength: 2,
  }),
  namespaces: fc.uniqueArray(fc.constantFrom("shop", "far"), { maxLength: 1 }),
});

const rbac = { apiVersion: "rbac.istio.io/v1alpha1" };
const mode = fc.constantFrom("ENFORCED", "ENFORCED", "PERMISSIVE");

const config = fc.oneof(
  fc.constantFrom<unknown>({ mode: "ON" }, { mode: "OFF" }, { mode: "ON", enforcement_mode: "PERMISSIVE" }),
  targets.map((inclusion) => ({ mode: "ON_WITH_INCLUSION", inclusion })),
  targets.map((exclusion) => ({ mode: "ON_WITH_EXCLUSION", exclusion })),
);

function roleAndBindings(namespace: string, host: string): fc.Arbitrary<readonly unknown[]> {
  const bindings = fc.array(fc.record({ mode, subjects: fc.array(subject, { minLength: 1, maxLength: 2 }) }), { maxLength: 2 });
  return fc.tuple(fc.array(rule(host), { minLength: 1, maxLength: 2 }), bindings).map(([rules, some]) => [
    { ...rbac, kind: "ServiceRole", metadata: { name: "role", namespace }, spec: { rules } },
    ...some.map((spec, index) => ({
      ...rbac,
      kind: "ServiceRoleBinding",
      metadata: { name: `binding-${index}`, namespace },
      spec: { ...spec, roleRef: { kind: "ServiceRole", name: "role" } },
    })),
  ]);
}

const peers = fc.constantFrom<unknown>(
  [],
  [{ mtls: null }],
  [{ mtls: {} }],
  [{ mtls: { mode: "PERMISSIVE" } }],
  [{ mtls: { mode: "STRICT" } }],
);

function policy(name: string, some: readonly unknown[]): fc.Arbitrary<readonly unknown[]> {
  const document = peers.map((one) => ({
    apiVersion: "authentication.istio.io/v1alpha1",
    kind: "Policy",
    metadata: { name, namespace: "shop" },
    spec: { ...(some.length > 0 ? { targets: some } : {}), peers: one },
  }));
  return fc.option(document, { nil: undefined }).map((one) => (one === undefined ? [] : [one]));
}

const documents = fc
  .tuple(
    config.map((spec) => [{ ...rbac, kind: "ClusterRbacConfig", metadata: { name: "default" }, spec }]),
    roleAndBindings("shop", "api.shop"),
    roleAndBindings("far", "cart.far"),
    policy("default", []),
    policy("web", [{ name: "web" }, { name: "api", ports: [{ number: 80 }] }]),
    policy("other", [{ name: "admin", ports: [{ name: "http" }] }, { name: "db" }]),
  )
  .map((parts): readonly unknown[] => parts.flat());

describe("convert", () => {
  it("decides as the old objects did, whatever they are", () => {
    let compared = 0;
    let effects = new Set<string>();
    const property = fc.property(documents, fc.array(request, { minLength: 12, maxLength: 12 }), (all, requests) => {
      const text = all.map((one) => JSON.stringify(one)).join("\n---\n");
      const [side, old] = [newSide(text), oldDocuments(text)];
      assert.deepEqual(side.errors, [], text);
      for (const at of PLACES) for (const one of requests) assertAlike(text, side, old, at, one);
      compared += PLACES.length * requests.length;
      effects = new Set([...effects, ...PLACES.flatMap((at) => requests.map((one) => oldEffect(old, at, one)))]);
    });
    fc.assert(property, { numRuns: 200 });
    assert.ok(compared >= 10_000);
    assert.deepEqual([...effects].sort(), ["allow", "deny", "refused"]);
  });

  it("answers any document with diagnostics, never with an exception", () => {
    const word = fc.constantFrom(
      "Policy",
      "ServiceRole",
      "spec",
      "targets",
      "rules",
      "name",
      "mtls",
      "*",
      "peers",
      "jwt",
      "subjects",
      "metadata",
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ maxDepth: 4 }, word, fc.integer(), fc.constant(null), fc.array(tie("tree")), fc.dictionary(word, tie("tree"))),
    }));
    const kinds = fc.constantFrom("Policy", "MeshPolicy", "ServiceRole", "ServiceRoleBinding", "RbacConfig", "Other");
    const versions = fc.constantFrom("authentication.istio.io/v1alpha1", "rbac.istio.io/v1alpha1");
    const settings = { rootNamespace: "istio-system", clusterDomain: "cluster.local" };
    fc.assert(
      fc.property(kinds, versions, tree, (kind, apiVersion, spec) => {
        const text = JSON.stringify({ apiVersion, kind, metadata: { name: "default" }, spec });
        const { objects, notes, diagnostics } = convert(documentsOf(text), settings);
        assert.ok(objects.length + notes.length + diagnostics.length > 0, text);
      }),
      { numRuns: 500 },
    );
  });
});
