/** The pages of `docs/tasks`, followed to the letter: what they say is what happens. */
import assert from "node:assert/strict";
import { cpSync, globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { formatDiagnostic } from "../../src/core/diagnostic.ts";
import { decodeObject } from "../../src/policy/decode/decode.ts";
import { parseYamlDocuments } from "../../src/sources/yaml-documents.ts";
import { pickPort } from "../fakes/ports.ts";
import { isAlive, until } from "../fakes/processes.ts";
import { HAS_PROMTOOL } from "../fixture/promtool.ts";
import { SOFTHSM_MODULE } from "../fixture/softhsm.ts";
import { brokenLinks, docsPages, objectsIn } from "./docs-pages.ts";
import { ShellSession } from "./shell-session.ts";
import { outputMatches, parseTaskPage, type Step } from "./task-page.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const TASKS = join(ROOT, "docs", "tasks");
const EVENTUALLY_MS = 20_000;
const PAGE_MS = 180_000;

/** Followed with a real API server, in `test/kube`, and with hosts of a network, in `test/network`. */
const ELSEWHERE: ReadonlySet<string> = new Set(["README.md", "kubernetes-install.md", "several-clusters.md", "capture-on-a-host.md"]);
const pages = readdirSync(TASKS).filter((name) => name.endsWith(".md") && !ELSEWHERE.has(name));

/** Fixed ports of the pages and of the example that they run. */
const PORT = /\b1[78][1-5]\d\d\b/g;

/** Pages that need what no machine has by itself; with every tier required they run all the same. */
const NEEDS: ReadonlyMap<string, string | false> = new Map([
  [
    "keys-in-an-hsm.md",
    process.env.GARRISON_REQUIRE !== "all" && SOFTHSM_MODULE === "" ? "there is no SoftHSM (apt-get install softhsm2)" : false,
  ],
  ["metrics.md", HAS_PROMTOOL ? false : "there is no promtool (apt-get install prometheus)"],
]);

/** Gives each port of the texts another one, so that nothing else on the machine is in the way. */
async function portMover(texts: readonly string[]): Promise<(text: string) => string> {
  const ports = new Set(texts.flatMap((text) => [...text.matchAll(PORT)].map(([port]) => port)));
  const moved = new Map<string, string>();
  // In their order, by which some output is sorted.
  for (const port of [...ports].sort()) moved.set(port, String(await pickPort()));
  return (text) => text.replace(PORT, (port) => moved.get(port) ?? port);
}

/** Makes `path` a checkout with other ports in its example, and answers a page with the same ports. */
async function prepare(path: string, name: string): Promise<string> {
  for (const part of ["bin", "node_modules"]) symlinkSync(join(ROOT, part), join(path, part));
  cpSync(join(ROOT, "examples"), join(path, "examples"), { recursive: true });
  const examples = globSync("examples/**/*.{mjs,yaml}", { cwd: path }).map((file) => join(path, file));
  const page = readFileSync(join(TASKS, name), "utf8");
  const move = await portMover([page, ...examples.map((file) => readFileSync(file, "utf8"))]);
  for (const file of examples) writeFileSync(file, move(readFileSync(file, "utf8")));
  return move(page);
}

/** Gives a step's commands, and again until they print what is expected where that takes a moment. */
async function follow(session: ShellSession, { commands, expected, eventually, line }: Step): Promise<void> {
  const end = Date.now() + EVENTUALLY_MS;
  for (;;) {
    const { exit, output } = await session.run(commands, !eventually);
    const matches = expected === undefined || outputMatches(expected, output);
    if (exit === 0 && matches) return;
    if (eventually && Date.now() < end) {
      await delay(100);
      continue;
    }
    assert.equal(output, expected, `line ${line}, exit code ${exit}:\n${commands}`);
    assert.equal(exit, 0, `line ${line}:\n${commands}`);
  }
}

interface Place {
  readonly session: ShellSession;
  /** Where the session begins; empty. */
  readonly checkout: string;
  /** For the session's temporary files. */
  readonly folder: string;
}

/** A session in a folder of its own, which goes when the session has ended. */
function openSession(t: TestContext): Place {
  // Short, since Unix sockets lie below it.
  const folder = mkdtempSync(join(tmpdir(), "gd-"));
  const checkout = join(folder, "checkout");
  mkdirSync(checkout);
  const env = { ...process.env, NO_COLOR: "1", GARRISON_STATE: undefined };
  const session = new ShellSession({ after: (clean) => t.after(clean) }, { cwd: checkout, folder, env });
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return { session, checkout, folder };
}

/** The ends of what the page's processes have logged. */
function logsOf(folder: string): string {
  const logs = globSync("tmp.*/{*.log,.garrison/log/*.log}", { cwd: folder });
  return logs.map((log) => `--- ${log}\n${readFileSync(join(folder, log), "utf8").slice(-2_000)}`).join("\n");
}

/** Does all that the page says. Throws with the logs where something is not as it says. */
async function followPage({ session, folder }: Place, page: string): Promise<void> {
  try {
    for (const step of parseTaskPage(page)) await follow(session, step);
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : error}\n${logsOf(folder)}`, { cause: error });
  }
}

describe("a page of docs/tasks does what it says:", { concurrency: 1 }, () => {
  for (const name of pages) {
    test(name, { timeout: PAGE_MS, skip: NEEDS.get(name) ?? false }, async (t) => {
      const place = openSession(t);
      await followPage(place, await prepare(place.checkout, name));
      await until("the page has ended all its processes", () => place.session.leftovers().length === 0);
    });
  }

  test("there are pages, those that are left out where something is missing among them", () => {
    assert.ok(pages.length >= 4, pages.join(", "));
    assert.deepEqual(
      [...NEEDS.keys()].filter((name) => !pages.includes(name)),
      [],
    );
  });
});

describe("a shell session", () => {
  test("ends at the first command that fails, where it is strict, and tells what was printed", async (t) => {
    const { session } = openSession(t);
    assert.deepEqual(await session.run("echo one; false; echo two", false), { exit: 0, output: "one\ntwo\n" });
    assert.equal((await session.run("sh -c 'exit 3'", false)).exit, 3);
    await assert.rejects(session.run("echo three; false; echo four", true), /ended with 1:\nthree\n$/);
  });

  test("leaves no process behind, in its own process group or in another", async (t) => {
    const { session } = openSession(t);
    const { output } = await session.run("sleep 1000 &\nsetsid sleep 1000 &\njobs -p", true);
    const pids = output.trim().split("\n").map(Number);
    assert.equal(pids.length, 2);
    assert.ok(pids.every(isAlive));
    await session.end();
    assert.deepEqual(pids.filter(isAlive), []);
  });
});

describe("parseTaskPage", () => {
  const commands = "```sh\nls\n```";

  test("takes commands in order, each with the output that follows", () => {
    const steps = parseTaskPage(`# A\n\n${commands}\n\n<!-- eventually -->\n${commands}\n\nprints\n\n\`\`\`text\na\nb\n\`\`\`\n`);
    assert.deepEqual(steps, [
      { line: 3, commands: "ls", expected: undefined, eventually: false },
      { line: 7, commands: "ls", expected: "a\nb", eventually: true },
    ]);
  });

  test("refuses what would be passed over: output of no commands, `eventually` before no commands or without output", () => {
    assert.throws(() => parseTaskPage("```text\na\n```"), /belongs to no commands/);
    assert.throws(() => parseTaskPage(`${commands}\n\n<!-- eventually -->\n\nText`), /before no commands/);
    assert.throws(() => parseTaskPage(`<!-- eventually -->\n${commands}`), /eventually` what/);
    assert.throws(() => parseTaskPage("```bash\nls\n```"), /belongs to no commands/);
  });
});

describe("outputMatches", () => {
  test("takes times as alike and every other text as it is", () => {
    assert.ok(outputMatches("2026-11-22T10:00:00.000Z DENY", "2027-01-02T11:12:13.456Z DENY\n"));
    assert.ok(!outputMatches("2026-11-22T10:00:00.000Z DENY", "2027-01-02T11:12:13.456Z ALLOW\n"));
  });

  test("takes `…` as any lines, or as any text of one line", () => {
    assert.ok(outputMatches("a\n…\nd", "a\nb\nc\nd\n"));
    assert.ok(outputMatches("…\nd", "d\n"));
    assert.ok(outputMatches("a…c…e", "abcde\n"));
    assert.ok(!outputMatches("a\n…\nd", "a\nb\nc\n"));
    assert.ok(!outputMatches("ab…ba", "aba\n"));
  });

  test("lets no line be missing or in excess", () => {
    assert.ok(!outputMatches("a", "a\nb\n"));
    assert.ok(!outputMatches("a\nb", "a\n"));
  });
});

describe("a page of the documentation", () => {
  const all = docsPages();

  test("links only to files that exist", () => {
    const broken = all.flatMap((page) => brokenLinks(page).map((link) => `${page.path}: ${link}`));
    assert.deepEqual(broken, []);
  });

  test("is linked from docs/README.md, if it is a concept, a task or a reference", () => {
    const index = all.find(({ path }) => path === "docs/README.md")?.text ?? "";
    const wanted = all.map(({ path }) => path).filter((path) => /^docs\/(concepts|tasks|reference)\//.test(path));
    const missing = wanted.filter((path) => !index.includes(`(${path.slice("docs/".length)})`));
    assert.ok(wanted.length >= 14, wanted.join(", "));
    assert.deepEqual(missing, []);
  });

  test("shows only YAML that is valid", () => {
    const objects = all.flatMap((page) => objectsIn(page).map((text) => parseYamlDocuments(text, page.path)));
    const diagnostics = objects.flatMap(({ documents, diagnostic }) => [
      ...(diagnostic === undefined ? [] : [diagnostic]),
      ...documents.flatMap((document) => decodeObject(document).diagnostics),
    ]);
    assert.ok(objects.length >= 8, `${objects.length} blocks`);
    assert.deepEqual(diagnostics.map(formatDiagnostic), []);
  });
});
