import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import type { LogFields } from "../core/logger.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { type Authority, openAuthority } from "./authority.ts";
import { type ServingCertificate, startServing } from "./serving.ts";

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const HOUR = 3_600_000;

let stateFolder = "";
let now = NOW;
let authority: Authority;
let serving: ServingCertificate | undefined;
let timers: { readonly run: () => void; readonly delayMs: number; cancelled: boolean }[] = [];
let lines: { readonly level: string; readonly fields: LogFields | undefined }[] = [];
const clock = { now: () => now };
const logger = { log: (level: string, _message: string, fields?: LogFields) => void lines.push({ level, fields }) };

beforeEach(() => {
  stateFolder = mkdtempSync(join(tmpdir(), "serving-"));
  now = NOW;
  timers = [];
  lines = [];
  authority = openAuthority({ stateFolder, trustDomain: DEFAULT_TRUST_DOMAIN, clock, logger });
});
afterEach(() => {
  serving?.close();
  authority.close();
  rmSync(stateFolder, { recursive: true });
});

async function start(random: number): Promise<ServingCertificate> {
  serving = await startServing({
    authority,
    clock,
    logger,
    random: () => random,
    schedule(run, delayMs) {
      const timer = { run, delayMs, cancelled: false };
      timers.push(timer);
      return () => {
        timer.cancelled = true;
      };
    },
  });
  return serving;
}

const certificate = () => new X509Certificate(serving?.material.current?.chain ?? "");

/** Runs a timer, and waits until it has set the next one. */
async function run(timer: (typeof timers)[number] | undefined): Promise<void> {
  assert.ok(timer);
  const before = timers.length;
  timer.run();
  await serving?.settled();
  assert.equal(timers.length, before + 1);
}

/** Turns the clock to the next timer and runs it. */
async function fire(): Promise<void> {
  now += timers.at(-1)?.delayMs ?? 0;
  await run(timers.at(-1));
}

describe("startServing()", () => {
  test("has a certificate at once: the control plane's identity and its DNS names, with its key and the roots", async () => {
    const { material } = await start(0.5);
    assert.equal(
      certificate().subjectAltName,
      "URI:spiffe://cluster.local/ns/istio-system/sa/garrison, DNS:localhost, DNS:garrison.istio-system.svc",
    );
    assert.match(material.current?.key ?? "", /^-----BEGIN PRIVATE KEY-----/);
    assert.equal(material.current?.roots, authority.rootsPem);
  });

  test("renews with a new key at half of each life, with a jitter of a tenth of it", async () => {
    await start(0.5);
    assert.equal(timers[0]?.delayMs, 12 * HOUR);
    const first = serving?.material.current;
    const told: string[] = [];
    serving?.material.addIdentityCertificateListener((update) => void told.push(String(update?.certificate)));
    await fire();
    assert.notEqual(serving?.material.current?.key, first?.key);
    assert.equal(certificate().validToDate.getTime(), NOW + 36 * HOUR);
    assert.deepEqual(told, [first?.chain, serving?.material.current?.chain]);
    assert.deepEqual(
      timers.map(({ delayMs }) => delayMs),
      [12 * HOUR, 12 * HOUR],
    );
    assert.equal(authority.ledger.certificates({ limit: 10 }).length, 2);
  });

  test("spreads the renewals of replicas over 45 to 55 percent of the life", async () => {
    await start(0);
    assert.equal(timers[0]?.delayMs, 0.45 * 24 * HOUR);
    await start(0.999999);
    assert.ok((timers[1]?.delayMs ?? 0) < 0.55 * 24 * HOUR);
  });

  test("keeps the old certificate when a renewal fails, says so, and tries again in 30 seconds", async () => {
    await start(0.5);
    const { chain } = serving?.material.current ?? {};
    now = NOW - HOUR * 24 * 365;
    await run(timers[0]);
    assert.equal(serving?.material.current?.chain, chain);
    assert.equal(timers[1]?.delayMs, 30_000);
    assert.deepEqual(lines.at(-1), {
      level: "error",
      fields: { reason: "the CA's certificate is not valid at this time", retryInMs: 30_000 },
    });
    now = NOW;
    await fire();
    assert.notEqual(serving?.material.current?.chain, chain);
  });

  test("replaces a certificate of its own that is revoked, at once", async () => {
    await start(0.5);
    const record = authority.ledger.find(serving?.status.serial ?? "");
    assert.ok(record);
    authority.revocations.revoke([record], "keyCompromise", now);
    await serving?.settled();
    assert.notEqual(serving?.status.serial, record.serial);
    assert.deepEqual([serving?.status.problem, serving?.status.serial], [undefined, certificate().serialNumber.toLowerCase()]);
  });

  test("says why it gets none while its identity is revoked, and has one as soon as that is free again", async () => {
    await start(0.5);
    const { identity = "", serial } = serving?.status ?? {};
    authority.revocations.revoke(authority.ledger.unexpired({ identity }, now), "unspecified", now, { kind: "identity", value: identity });
    await serving?.settled();
    assert.deepEqual([serving?.status.serial, serving?.status.problem], [serial, `the identity \`${identity}\` is revoked`]);
    authority.revocations.unblock(identity);
    await serving?.settled();
    assert.notEqual(serving?.status.serial, serial);
    assert.equal(serving?.status.problem, undefined);
  });

  test("renews within a minute after the machine has slept past the time, and in time though the clock was set back", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    serving = await startServing({ authority, clock, logger, random: () => 0.5 });
    const renewed = async (): Promise<string> => {
      await serving?.settled();
      return serving?.status.serial ?? "";
    };
    const first = serving.status.serial;
    now += 13 * HOUR;
    t.mock.timers.tick(59_999);
    assert.equal(await renewed(), first);
    t.mock.timers.tick(1);
    const second = await renewed();
    assert.notEqual(second, first);
    now -= 5 * HOUR;
    for (let minute = 0; minute < 12 * 60; minute++) t.mock.timers.tick(60_000);
    assert.notEqual(await renewed(), second);
  });

  test("logs serials and never a key", async () => {
    await start(0.5);
    assert.equal(lines.at(-1)?.fields?.serial, certificate().serialNumber.toLowerCase());
    assert.doesNotMatch(JSON.stringify(lines), /PRIVATE/);
  });

  test("stops its timer when it is closed", async () => {
    await start(0.5);
    await fire();
    serving?.close();
    assert.equal(timers.at(-1)?.cancelled, true);
  });
});
