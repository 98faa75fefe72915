import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { FakeCa } from "../../../test/fakes/fake-ca.ts";
import { ManualClock } from "../../../test/fakes/manual-clock.ts";
import { until } from "../../../test/fakes/processes.ts";
import { AppError } from "../../core/error.ts";
import { silentLogger } from "../../core/logger.ts";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import type { RootsSource } from "../../policy/mesh-config.ts";
import { formatBundle } from "./bundle-format.ts";
import { MeshRoots } from "./mesh-roots.ts";

const [first, second] = [new FakeCa("first"), new FakeCa("second")];
const NAMES = ["east.example", "old.example"] as const;
const DAY_MS = 86_400_000;
let folder: string;
let clock: ManualClock;
let answer: string | AppError;
let asked: string[];
let changes: number;
let all: MeshRoots[];

function source(from: RootsSource["from"], ...trustDomains: readonly string[]): RootsSource {
  const place = { file: "istio.yaml", line: 7, column: 9 };
  return { path: "caCertificates[0]", place, from, trustDomains: trustDomains.map(parseTrustDomain) };
}

const pem = (ca: FakeCa, ...trustDomains: readonly string[]) => source({ kind: "pem", pem: ca.rootPem }, ...trustDomains);
const bundle = (...trustDomains: readonly string[]) => source({ kind: "bundle", url: "https://west.example/" }, ...trustDomains);

function open(): MeshRoots {
  const roots = new MeshRoots({
    folder,
    clock,
    logger: silentLogger,
    fetch: ({ trustDomain }) => {
      asked.push(trustDomain);
      return answer instanceof AppError ? Promise.reject(answer) : Promise.resolve(answer);
    },
  });
  roots.onChange(() => {
    changes += 1;
  });
  all.push(roots);
  return roots;
}

/** Whose roots are trusted for whom. */
const trusted = (roots: MeshRoots) =>
  [...roots.roots].map(([name, text]) => `${name} ${text === first.rootPem ? "first" : text === second.rootPem ? "second" : "both"}`);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mesh-roots-"));
  clock = new ManualClock(Date.now());
  [asked, all, changes] = [[], [], 0];
  answer = formatBundle({ roots: second.rootPem, jwks: "", sequence: 3, refreshHintSeconds: 300 });
});
afterEach(() => {
  for (const roots of all) roots.close();
  rmSync(folder, { recursive: true });
});

describe("roots of the mesh's configuration", () => {
  test("are of the mesh by all its names where they name no domain, and else of those that they name", () => {
    const roots = open();
    roots.follow([pem(first)], NAMES);
    assert.deepEqual(trusted(roots), ["east.example first", "old.example first"]);
    roots.follow([pem(first, "west.example"), pem(second, "west.example"), pem(second, "old.example")], NAMES);
    assert.deepEqual(trusted(roots), ["west.example both", "old.example second"]);
    roots.follow([], NAMES);
    assert.deepEqual(trusted(roots), []);
  });

  test("come from a bundle, which is asked for by each domain that it is named for, and for the mesh but once", async () => {
    const roots = open();
    roots.follow([bundle("west.example", "south.example"), bundle()], NAMES);
    assert.deepEqual([trusted(roots), roots.fetched], [[], []]);
    await until("the bundles are there", () => roots.roots.size === 4);
    assert.deepEqual(asked.toSorted(), ["east.example", "south.example", "west.example"]);
    assert.deepEqual(trusted(roots), ["west.example second", "south.example second", "east.example second", "old.example second"]);
    assert.deepEqual(
      roots.statuses.map(({ trustDomain, state, sequence, from }) => `${trustDomain} ${state} ${sequence} ${from}`)[0],
      "west.example trusted 3 istio.yaml:7:9 caCertificates[0]",
    );
    assert.ok(changes >= 3);
  });

  test("that were fetched stay over a restart while their endpoint is away, and not longer than a day", async () => {
    const before = open();
    before.follow([bundle("west.example")], NAMES);
    await until("the bundle is there", () => before.roots.size === 1);
    before.close();
    answer = new AppError("unavailable", "away");
    const roots = open();
    roots.follow([bundle("west.example")], NAMES);
    assert.deepEqual(trusted(roots), ["west.example second"]);
    await until("the endpoint was asked in vain", () => roots.statuses[0]?.failure === "away");
    await clock.advance(DAY_MS);
    assert.deepEqual([trusted(roots), roots.statuses[0]?.state], [[], "stale"]);
  });

  test("are forgotten when they are taken out, on the disk too, and listeners are told afterwards", async () => {
    const roots = open();
    roots.follow([bundle("west.example")], NAMES);
    await until("the bundle is there", () => roots.roots.size === 1);
    const before = changes;
    roots.follow([], NAMES);
    assert.deepEqual([trusted(roots), roots.fetched, readdirSync(folder), changes], [[], [], [], before]);
    await until("listeners are told", () => changes > before);
  });

  test("that were kept and cannot be read are fetched anew", async () => {
    const before = open();
    before.follow([bundle("west.example")], NAMES);
    await until("the bundle is there", () => before.roots.size === 1);
    before.close();
    for (const name of readdirSync(folder)) writeFileSync(join(folder, name), "{}", { mode: 0o644 });
    const roots = open();
    roots.follow([bundle("west.example")], NAMES);
    await until("the bundle is there again", () => roots.roots.size === 1);
  });

  test("are none where a bundle withdraws all, and the domain is no peer then", async () => {
    answer = JSON.stringify({ keys: [] });
    const roots = open();
    roots.follow([bundle("west.example")], NAMES);
    await until("the bundle is there", () => roots.statuses[0]?.state === "withdrawn");
    assert.deepEqual([trusted(roots), roots.fetched], [[], []]);
  });
});
