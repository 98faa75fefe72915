import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { FakeCa } from "../../../test/fakes/fake-ca.ts";
import { ManualClock } from "../../../test/fakes/manual-clock.ts";
import { until } from "../../../test/fakes/processes.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import { silentLogger } from "../../core/logger.ts";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import { formatBundle } from "./bundle-format.ts";
import { FederatedDomain } from "./federated-domain.ts";

const [first, second] = [new FakeCa("first"), new FakeCa("second")];
const documentOf = (roots: string, sequence: number, refreshHintSeconds = 1) =>
  roots === "" ? JSON.stringify({ keys: [], spiffe_sequence: sequence }) : formatBundle({ roots, jwks: "", sequence, refreshHintSeconds });

let folder: string;
let clock: ManualClock;
let answer: string | AppError;
/** The roots by which the endpoint was verified, each time. */
let asked: string[];
let domains: FederatedDomain[];

/** How often what is trusted may have changed. */
let changes: number;

function open(bundleFile = "first.json", time: Clock = clock, staleAfterMs = 60_000): FederatedDomain {
  const domain = new FederatedDomain({
    relation: {
      trustDomain: parseTrustDomain("west.example"),
      url: "https://west.example/",
      proof: { profile: "https_spiffe", endpointSpiffeId: "spiffe://west.example/ns/a/sa/b", bundleFile: join(folder, bundleFile) },
      staleAfterMs,
    },
    file: join(folder, "kept.json"),
    clock: time,
    logger: silentLogger,
    onChange: () => {
      changes += 1;
    },
    fetch: (_relation, roots) => {
      asked.push(roots);
      return answer instanceof AppError ? Promise.reject(answer) : Promise.resolve(answer);
    },
  });
  domains.push(domain);
  return domain;
}

/** A domain of an earlier run, started anew: it asks at once. */
async function again(): Promise<FederatedDomain> {
  const before = asked.length;
  domains.at(-1)?.close();
  const domain = open();
  await until("the endpoint was asked", () => asked.length > before);
  await new Promise(setImmediate);
  return domain;
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "federated-"));
  clock = new ManualClock(1_700_000_000_000);
  [asked, domains, changes] = [[], [], 0];
  answer = new AppError("unavailable", "away");
  writeFileSync(join(folder, "first.json"), documentOf(first.rootPem, 1));
});
afterEach(() => {
  for (const domain of domains) domain.close();
  rmSync(folder, { recursive: true });
});

describe("a trust domain that is federated with", () => {
  test("is trusted when its bundle was fetched: the first one verifies its endpoint alone", async () => {
    assert.deepEqual([(await again()).trusted, asked], [undefined, [first.rootPem]]);
    answer = documentOf(first.rootPem, 1);
    assert.equal((await again()).trusted?.roots, first.rootPem);
  });

  test("is followed in a rotation: the newest bundle verifies the endpoint", async () => {
    answer = documentOf(second.rootPem, 2);
    assert.equal((await again()).trusted?.roots, second.rootPem);
    await again();
    assert.deepEqual(asked, [first.rootPem, second.rootPem]);
  });

  test("keeps its bundle over a restart while the endpoint is away, until it is stale", async () => {
    answer = documentOf(first.rootPem, 5);
    await again();
    answer = new AppError("unavailable", "away");
    const domain = await again();
    assert.deepEqual([domain.status.state, domain.status.failure], ["trusted", "away"]);
    await clock.advance(60_000);
    assert.deepEqual([domain.status.state, domain.trusted], ["stale", undefined]);
  });

  test("begins anew where what was kept cannot be used, and does not keep the control plane from starting", async () => {
    answer = documentOf(second.rootPem, 5);
    await again();
    const kept = JSON.parse(readFileSync(join(folder, "kept.json"), "utf8")) as object;
    writeFileSync(join(folder, "kept.json"), JSON.stringify({ ...kept, document: "{}" }));
    answer = new AppError("unavailable", "away");
    assert.deepEqual([(await again()).status.state, asked.at(-1)], ["waiting", first.rootPem]);
    answer = documentOf(first.rootPem, 6);
    assert.equal((await again()).trusted?.roots, first.rootPem);
  });

  test("tells by itself when it becomes stale, with nobody asking", async () => {
    answer = documentOf(first.rootPem, 1);
    const domain = open("first.json", systemClock, 1_000);
    await until("its bundle was taken", () => changes === 1);
    assert.equal(domain.status.state, "trusted");
    answer = new AppError("unavailable", "away");
    await until("it was told that the bundle is stale", () => changes === 2);
    assert.deepEqual([domain.status.state, domain.trusted], ["stale", undefined]);
  });

  for (const { hint, staleAfterMs, seconds, why } of [
    { hint: 40, staleAfterMs: 86_400_000, seconds: 40, why: "as its bundle asks for" },
    { hint: 1, staleAfterMs: 86_400_000, seconds: 5, why: "but no sooner than that" },
    { hint: 86_400, staleAfterMs: 864_000_000, seconds: 3_600, why: "but at least once an hour" },
    { hint: 600, staleAfterMs: 300_000, seconds: 100, why: "but three times before it is stale" },
  ])
    test(`is asked again after ${seconds} s where the refresh hint is ${hint} s: ${why}`, async (t) => {
      t.mock.timers.enable({ apis: ["setTimeout"] });
      answer = documentOf(first.rootPem, 1, hint);
      const domain = open("first.json", clock, staleAfterMs);
      const settled = async () => {
        for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
      };
      await settled();
      assert.deepEqual([asked.length, domain.trusted?.refreshHintSeconds], [1, seconds]);
      t.mock.timers.tick(1_000 * seconds - 1);
      await settled();
      assert.equal(asked.length, 1);
      t.mock.timers.tick(1);
      await settled();
      assert.equal(asked.length, 2);
    });

  test("does not go back in its numbers, nor change under one, nor lose them", async () => {
    answer = documentOf(first.rootPem, 5);
    await again();
    for (const [document, reason] of [
      [documentOf(second.rootPem, 4), /4 is older than 5/],
      [documentOf(second.rootPem, 5), /the same number 5/],
      [JSON.stringify({ keys: [] }), /has no number/],
      ["<html>", /not JSON/],
    ] as const) {
      answer = document;
      const domain = await again();
      assert.match(domain.status.failure, reason);
      assert.equal(domain.trusted?.roots, first.rootPem);
    }
  });

  test("that withdraws all its keys is not trusted, and comes back by the roots that it had", async () => {
    answer = documentOf(second.rootPem, 2);
    await again();
    answer = documentOf("", 3);
    const domain = await again();
    assert.deepEqual([domain.status.state, domain.trusted], ["withdrawn", undefined]);
    answer = documentOf(first.rootPem, 4);
    assert.equal((await again()).trusted?.roots, first.rootPem);
    assert.equal(asked.at(-1), second.rootPem);
  });

  test("begins anew with another first bundle, its numbers too", async () => {
    answer = documentOf(first.rootPem, 9);
    await again();
    writeFileSync(join(folder, "first.json"), documentOf(second.rootPem, 1));
    answer = documentOf(second.rootPem, 1);
    assert.equal((await again()).trusted?.roots, second.rootPem);
    assert.equal(asked.at(-1), second.rootPem);
  });

  test("needs a first bundle that is one", () => {
    writeFileSync(join(folder, "empty.json"), documentOf("", 1));
    for (const file of ["empty.json", "missing.json"]) assert.throws(() => open(file), { code: "invalid-configuration" });
  });
});
