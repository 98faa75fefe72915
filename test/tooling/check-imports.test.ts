import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { findCycles } from "../../tools/imports/cycles.ts";
import { findSpecifiers } from "../../tools/imports/specifiers.ts";
import { makeTree, ROOT, runNode } from "./program.ts";

/** What the check says of a tree of modules; paths are below `src`. */
async function check(t: TestContext, modules: Readonly<Record<string, string>>) {
  const root = makeTree(t, Object.fromEntries(Object.entries(modules).map(([path, text]) => [join("src", path), text])));
  const { code, stdout, stderr } = await runNode([join(ROOT, "tools", "check-imports.ts"), root], { cwd: root });
  return { code, stdout, problems: stderr.split("\n").filter((line) => line !== "") };
}

/** Refused: the importing module, what it imports, and what the message must say. */
const REFUSED: readonly (readonly [name: string, from: string, to: string, why: RegExp])[] = [
  [
    "a lower folder may not import a higher one",
    "policy/a.ts",
    "mesh/b.ts",
    /policy may not import `mesh\/b\.ts`: mesh is above policy: imports go down only$/,
  ],
  [
    "the two renderers may not import each other",
    "render/envoy/a.ts",
    "render/decide/b.ts",
    /render\/envoy and render\/decide are siblings/,
  ],
  ["siblings may not import each other", "ca/a.ts", "xds/b.ts", /ca and xds are siblings: what both need belongs below them$/],
  ["the server may not import the command line", "server/a.ts", "cli/b.ts", /server and cli are siblings/],
  ["the xDS server may not import policy", "xds/a.ts", "compile/b.ts", /xDS server delivers resources and knows no policy$/],
  ["the agent may not import policies", "agent/a.ts", "policy/b.ts", /the agent stays small/],
  ["the agent may not import another module of the renderer", "agent/a.ts", "render/envoy/b.ts", /the agent stays small/],
  ["the embedded proxy may not import the xDS server", "proxy/a.ts", "xds/service.ts", /proxy and xds are siblings/],
  ["a pure folder may not import generated code", "compile/a.ts", "gen/b.js", /only render\/envoy, .* may import gen$/],
  ["a lower folder may not import the gRPC glue", "render/envoy/a.ts", "rpc/b.ts", /only xds, .* may import rpc$/],
  ["the audit may not import x509", "audit/a.ts", "x509/b.ts", /only ca, agent, proxy, prove, server may import x509$/],
  ["x509 may not import policy", "x509/a.ts", "policy/b.ts", /x509 may import only packages, core, identity$/],
];

for (const [name, from, to, why] of REFUSED) {
  test(`${name}, and the message has file, line and reason`, async (t) => {
    const specifier = `${"../".repeat(from.split("/").length - 1)}${to}`;
    const { code, problems } = await check(t, {
      [from]: `// first line\nimport { x } from "${specifier}";\n`,
      [to]: "export const x = 1;\n",
    });
    assert.equal(code, 1);
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? "", new RegExp(`^src/${from.replaceAll(".", "\\.")}:2: `));
    assert.match(problems[0] ?? "", why);
  });
}

test("downward imports, the gRPC glue, x509 and the named exceptions are allowed", async (t) => {
  const { code, stdout, problems } = await check(t, {
    "cli/a.ts": 'import "../core/a.ts"; import "../server/a.ts"; import "../proxy/a.ts";',
    "server/a.ts": 'import "../ca/a.ts"; import "../render/envoy/bootstrap.ts"; import "../x509/a.ts";',
    "proxy/a.ts": 'import "../xds/client.ts"; import "../render/decide/a.ts"; import "../x509/a.ts"; import "node:net";',
    "agent/a.ts": 'import "../render/envoy/bootstrap.ts"; import "../rpc/a.ts";',
    "ca/a.ts": 'import "../x509/a.ts"; import "../rpc/a.ts"; import "../gen/a.js"; import "jose";',
    "xds/client.ts": 'import "../rpc/a.ts"; import "../gen/a.js";',
    "render/envoy/bootstrap.ts": 'import "../../gen/a.js"; import "../../compile/a.ts";',
    "render/decide/a.ts": 'import "../../compile/a.ts"; import "../../policy/a.ts";',
    "compile/a.ts": 'import "../core/a.ts"; import "./b.ts";',
    "compile/b.ts": "",
    "policy/a.ts": "",
    "rpc/a.ts": 'import "@grpc/grpc-js"; import "../core/a.ts"; import "../gen/a.js";',
    "x509/a.ts": 'import "node:crypto"; import "../core/a.ts";',
    "core/a.ts": "",
    "gen/a.js": "",
  });
  assert.deepEqual(problems, []);
  assert.equal(code, 0);
  assert.match(stdout, /^imports: 14 modules, 0 problems$/m);
});

test("a type import counts, as does a re-export and an import in the middle of code", async (t) => {
  const { problems } = await check(t, {
    "core/a.ts":
      'import type { X } from "../ca/x.ts";\nexport * from "../ca/x.ts";\nconst late = () => import("../ca/x.ts");\nlet t: import("../ca/x.ts").X;',
    "ca/x.ts": "export type X = 1;",
  });
  assert.deepEqual(
    problems.map((line) => line.split(":").slice(0, 2).join(":")),
    ["src/core/a.ts:1", "src/core/a.ts:2", "src/core/a.ts:3", "src/core/a.ts:4"],
  );
});

test("a pure folder may import neither a `node:` module nor a package, and its tests may", async (t) => {
  const text = 'import { readFileSync } from "node:fs";\nimport { parse } from "yaml";\n';
  const { problems } = await check(t, { "policy/a.ts": text, "policy/a.test.ts": text });
  assert.deepEqual(problems, [
    "src/policy/a.ts:1: policy is pure: it may not import `node:fs`, nor any other package or `node:` module",
    "src/policy/a.ts:2: policy is pure: it may not import `yaml`, nor any other package or `node:` module",
  ]);
});

test("nothing but a test may import from `test/`, or a test", async (t) => {
  const { problems } = await check(t, {
    "ca/a.ts": 'import "../../test/fakes/clock.ts";\nimport "./b.test.ts";\n',
    "ca/b.test.ts": 'import "../../test/fakes/clock.ts";\nimport "../xds/b.ts";\n',
  });
  assert.deepEqual(problems, ["src/ca/a.ts:1: `../../test/fakes/clock.ts` is outside `src`", "src/ca/a.ts:2: `./b.test.ts` is a test"]);
});

test("an import cycle is told with its way round, also one of types only", async (t) => {
  const { problems } = await check(t, {
    "ca/a.ts": 'import "./b.ts";',
    "ca/b.ts": 'import type { X } from "./c.ts";',
    "ca/c.ts": 'import "./a.ts";\nexport type X = 1;',
    "ca/d.ts": 'import "./a.ts";',
  });
  assert.deepEqual(problems, ["src/ca/a.ts:1: import cycle: ca/a.ts -> ca/b.ts -> ca/c.ts -> ca/a.ts"]);
});

test("a folder without a place in the rules, a missing module and an import of a variable are refused", async (t) => {
  const { problems } = await check(t, {
    "utils/a.ts": "",
    "ca/a.ts": 'import "./gone.ts";\nimport "../utils/a.ts";\nawait import(name);\nawait import(`./b.ts`);\n',
  });
  assert.deepEqual(problems, [
    "src/ca/a.ts:1: `./gone.ts` does not exist",
    "src/ca/a.ts:2: `../utils/a.ts` is in a folder that has no place in tools/imports/rules.ts",
    "src/ca/a.ts:3: `import(…)` takes something else than a plain string, which cannot be checked",
    "src/ca/a.ts:4: `import(…)` takes something else than a plain string, which cannot be checked",
    "src/utils/a.ts:1: its folder has no place in tools/imports/rules.ts",
  ]);
});

test("a tree without sources is a failure, so that a wrong path does not pass", async (t) => {
  assert.equal((await check(t, {})).code, 1);
});

test("two cycles that share a module are both found, and a module that imports itself", () => {
  const graph = new Map([
    ["a", ["b", "c"]],
    ["b", ["a"]],
    ["c", ["a"]],
    ["d", ["d"]],
  ]);
  assert.deepEqual(findCycles(graph), [["a", "b"], ["a", "c"], ["d"]]);
});

test("what looks like an import in a comment, a string, a template or a regular expression is none", () => {
  const source = [
    '// import "./comment.ts";',
    '/* import "./block.ts";\n export * from "./block.ts"; */',
    "const a = 'import \"./string.ts\"';",
    'const b = `\nimport "./template.ts";\n`;',
    'const c = /import "x\\/[/"]"/.test(a);',
    'const d = 1 / 2; import "./found.ts";',
    'const e = { from: "./key.ts", import: "./key.ts" }; Array.from("./call.ts");',
  ].join("\n");
  assert.deepEqual(findSpecifiers(source), [{ text: "./found.ts", line: 9 }]);
});

test("an import in a template's code is found, however deep", () => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a module
  const source = 'const a = `${`${await import("./a.ts")} }`}`;\nconst b = `x ${{ c: `}` }} y`;\nimport d from\n  "./d.ts";\n';
  assert.deepEqual(findSpecifiers(source), [
    { text: "./a.ts", line: 1 },
    { text: "./d.ts", line: 3 },
  ]);
});

test("on this project's own modules the scanner finds every import that a line begins with", () => {
  const paths = globSync("src/**/*.ts", { cwd: ROOT, exclude: ["src/gen/**", "**/*.test.ts"] });
  assert.ok(paths.length > 0);
  for (const path of paths) {
    const source = readFileSync(join(ROOT, path), "utf8");
    const found = new Set(findSpecifiers(source).map(({ text }) => text));
    const lines = source.matchAll(/^(?:import|export)\b[^"'`;]*\bfrom "([^"]+)";$/gm);
    for (const [, specifier] of lines) assert.ok(found.has(specifier), `${path}: ${specifier}`);
  }
});
