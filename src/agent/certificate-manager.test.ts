import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { AppError } from "../core/error.ts";
import { generateKey } from "../x509/csr-builder.ts";
import { type CertificateAnswer, CertificateManager } from "./certificate-manager.ts";
import type { IssuedCertificate } from "./issued-certificate.ts";

const START = Date.UTC(2026, 0, 1);
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const LIFE_MS = 24 * HOUR_MS;
const privateKey = generateKey();

let clock: ManualClock;
let logger: RecordingLogger;
/** When each request came, and the serial that it presented. */
let requests: { at: number; presented: string | undefined }[];
let answer: () => Promise<CertificateAnswer>;
let manager: CertificateManager;
let random: number;

beforeEach(() => {
  clock = new ManualClock(START);
  logger = new RecordingLogger();
  requests = [];
  answer = async () => issue();
  random = 0.5;
  manager = new CertificateManager({
    request: (current) => {
      requests.push({ at: clock.now(), presented: current?.serial });
      return answer();
    },
    clock,
    timers: clock,
    random: () => random,
    logger,
  });
});

function issue(life = LIFE_MS): CertificateAnswer {
  const certificate: IssuedCertificate = {
    privateKey,
    chain: "",
    roots: "",
    identity: "spiffe://cluster.local/ns/a/sa/b",
    serial: String(requests.length),
    notBefore: clock.now() - 2 * MINUTE_MS,
    notAfter: clock.now() + life,
  };
  return { kind: "issued", certificate };
}

const down = async (): Promise<CertificateAnswer> => ({
  kind: "failed",
  error: new AppError("unavailable", "nobody there"),
  retryAfterMs: 0,
});

async function started(): Promise<void> {
  manager.start();
  await clock.advance(0);
}

describe("the life of a certificate", () => {
  it("goes on from an earlier run: renewed at half of what is left, at once on demand", async () => {
    const earlier = issue(6 * HOUR_MS);
    assert.equal(earlier.kind, "issued");
    manager.start((earlier as Extract<CertificateAnswer, { kind: "issued" }>).certificate);
    await clock.advance(3 * HOUR_MS - 1);
    assert.deepEqual([requests.length, manager.valid?.serial], [0, "0"]);
    await clock.advance(1);
    assert.deepEqual(requests, [{ at: START + 3 * HOUR_MS, presented: "0" }]);
  });

  it("is renewed at half of it, presenting the certificate that is renewed", async () => {
    await started();
    await clock.advance(LIFE_MS / 2 - 1);
    assert.equal(requests.length, 1);
    await clock.advance(1);
    assert.deepEqual(requests, [
      { at: START, presented: undefined },
      { at: START + LIFE_MS / 2, presented: "1" },
    ]);
    assert.equal(manager.state.kind, "valid");
  });

  it("keeps its serial when other roots come, and roots that were pushed are not replaced by those of an answer", async () => {
    const told: (readonly [string, string])[] = [];
    manager.subscribe(({ serial, roots }) => told.push([serial, roots]));
    manager.trust({ roots: "pushed before the first" });
    await started();
    manager.trust({ roots: "pushed" });
    manager.trust({ roots: "pushed" });
    await manager.renew();
    manager.trustAnswers();
    await manager.renew();
    assert.deepEqual(told, [
      ["1", "pushed before the first"],
      ["1", "pushed"],
      ["2", "pushed"],
      ["3", ""],
    ]);
    assert.equal(manager.state.kind, "valid");
  });

  it("is renewed a little earlier or later by chance, so that a fleet does not renew together", async () => {
    random = 0;
    await started();
    await clock.advance(LIFE_MS * 0.45);
    random = 1 - Number.EPSILON;
    await clock.advance(0);
    assert.equal(requests.length, 2);
    assert.equal(requests[1]?.at, START + LIFE_MS * 0.45);
  });

  it("counts from when it was received, since a CA dates certificates back by more than a short one lives", async () => {
    answer = async () => issue(MINUTE_MS);
    await started();
    await clock.advance(29_999);
    assert.equal(requests.length, 1);
    await clock.advance(1);
    assert.equal(requests.length, 2);
  });

  it("may be longer than a timer can wait for", async () => {
    answer = async () => issue(90 * LIFE_MS);
    await started();
    await clock.advance(45 * LIFE_MS - 1);
    assert.equal(requests.length, 1);
    await clock.advance(1);
    assert.equal(requests.length, 2);
  });

  it("is replaced by one that is asked for afterwards, and not by what is under way", async () => {
    await started();
    const held = Promise.withResolvers<CertificateAnswer>();
    answer = () => held.promise;
    const renewed = manager.renew();
    answer = async () => issue();
    const replaced = manager.replace();
    const underWay = issue();
    held.resolve(underWay);
    assert.deepEqual([(await renewed).serial, (await replaced).serial, requests.length], ["2", "3", 3]);
  });

  it("is asked for again soon though the clock is set back while it is waited for", async () => {
    let ahead = 5 * HOUR_MS;
    const wall = { now: () => clock.now() + ahead };
    answer = down;
    manager = new CertificateManager({
      request: (current) => {
        requests.push({ at: clock.now(), presented: current?.serial });
        return answer();
      },
      clock: wall,
      timers: clock,
      random: () => 0,
      logger,
    });
    await started();
    ahead = 0;
    answer = async () => issue();
    await clock.advance(MINUTE_MS);
    assert.equal(manager.state.kind, "valid");
  });

  it("is renewed within a minute on a machine that slept past its half", async () => {
    await started();
    clock.jump(13 * HOUR_MS);
    await clock.advance(MINUTE_MS);
    assert.equal(requests.length, 2);
  });

  it("that is nearly none does not make the agent ask without a pause", async () => {
    answer = async () => issue(10);
    await started();
    await clock.advance(10_000);
    assert.ok(requests.length <= 11, `${requests.length} requests in 10 s`);
  });
});

describe("a renewal that fails for hours", () => {
  beforeEach(async () => {
    await started();
    answer = down;
    await clock.advance(LIFE_MS / 2 + 6 * HOUR_MS);
  });

  it("keeps the old certificate, tells the reason and goes on trying", () => {
    const { state } = manager;
    assert.equal(state.kind, "renewal-failing");
    assert.equal("certificate" in state && state.certificate?.serial, "1");
    assert.equal("lastError" in state && state.lastError?.message, "nobody there");
    assert.ok(requests.length > 300, `${requests.length} attempts in 6 hours`);
    assert.ok(logger.messages.includes("warn: the certificate could not be renewed"));
  });

  it("waits longer each time, up to a minute", () => {
    const waits = requests.slice(1, 12).map(({ at }, index) => at - (requests[index]?.at ?? 0));
    assert.deepEqual(waits.slice(1), [750, 1_500, 3_000, 6_000, 12_000, 24_000, 45_000, 45_000, 45_000, 45_000]);
  });

  it("ends with a new certificate when the control plane is back, and half-lives count again", async () => {
    answer = async () => issue();
    await clock.advance(MINUTE_MS);
    assert.equal(manager.state.kind, "valid");
    const renewals = requests.length;
    await clock.advance(LIFE_MS / 2 - 2 * MINUTE_MS);
    assert.equal(requests.length, renewals);
    answer = down;
    await clock.advance(2 * MINUTE_MS);
    const [due = 0, retry = 0] = requests.slice(renewals).map(({ at }) => at);
    assert.equal(retry - due, 750, "the first wait after a success is a short one again");
  });

  it("is borne for as long as the certificate lives, by a control plane that is away for hours", async () => {
    await clock.advance(5.9 * HOUR_MS);
    assert.deepEqual([manager.state.kind, manager.valid?.serial], ["renewal-failing", "1"]);
    assert.ok(requests.length < 2_000, `${requests.length}`);
    assert.ok(requests.slice(1).every(({ presented }) => presented === "1"));
    answer = async () => issue();
    await clock.advance(MINUTE_MS);
    assert.equal(manager.state.kind, "valid");
  });

  it("is warned of when a fifth of the life is left, once", async () => {
    const message = "error: the certificate expires soon and is not renewed";
    assert.equal(manager.expiresSoon, false);
    assert.equal(logger.messages.filter((line) => line === message).length, 0);
    await clock.advance(1.2 * HOUR_MS);
    assert.equal(logger.messages.filter((line) => line === message).length, 1);
    assert.equal(manager.expiresSoon, true);
    await clock.advance(2 * HOUR_MS);
    assert.equal(logger.messages.filter((line) => line === message).length, 1);
    answer = async () => issue();
    await clock.advance(MINUTE_MS);
    assert.equal(manager.expiresSoon, false);
  });

  it("ends in expiry, which is an error in the log and presents no dead certificate", async () => {
    await clock.advance(6 * HOUR_MS);
    assert.equal(manager.state.kind, "expired");
    assert.equal(manager.valid, undefined);
    assert.deepEqual(
      logger.messages.filter((line) => line.startsWith("error")),
      [
        "error: the certificate expires soon and is not renewed",
        "error: the certificate has expired: peers refuse this workload until it is renewed",
      ],
    );
    await clock.advance(2 * MINUTE_MS);
    assert.equal(requests.at(-1)?.presented, undefined);
    assert.equal(manager.state.kind, "expired");
    answer = async () => issue();
    await clock.advance(MINUTE_MS);
    assert.equal(manager.state.kind, "valid");
  });
});

describe("a certificate that nobody issues", () => {
  it("leaves the agent starting and trying", async () => {
    answer = down;
    await started();
    await clock.advance(10 * MINUTE_MS);
    assert.equal(manager.state.kind, "starting");
    answer = async () => issue();
    await clock.advance(MINUTE_MS);
    assert.equal(manager.state.kind, "valid");
  });

  it("is not asked for before the control plane's hint allows it", async () => {
    answer = async () => ({ kind: "failed", error: new AppError("resource-exhausted", "busy"), retryAfterMs: 5 * MINUTE_MS });
    random = 0;
    await started();
    await clock.advance(5 * MINUTE_MS - 1);
    assert.equal(requests.length, 1);
    await clock.advance(1);
    assert.equal(requests.length, 2);
  });

  it("is asked for a little later than the hint by chance, as many were told the same", async () => {
    answer = async () => ({ kind: "failed", error: new AppError("resource-exhausted", "busy"), retryAfterMs: 4 * MINUTE_MS });
    random = 0.8;
    await started();
    await clock.advance(4.8 * MINUTE_MS - 1);
    assert.equal(requests.length, 1);
    await clock.advance(1);
    assert.equal(requests.length, 2);
  });

  it("is asked for within an hour, whatever the hint says", async () => {
    answer = async () => ({ kind: "failed", error: new AppError("resource-exhausted", "busy"), retryAfterMs: 1_000 * HOUR_MS });
    await started();
    await clock.advance(HOUR_MS);
    assert.equal(requests.length, 2);
  });

  it("is tried again also after a defect of our own", async () => {
    answer = () => Promise.reject(new TypeError("x is not a function"));
    await started();
    await clock.advance(MINUTE_MS);
    assert.ok(requests.length > 1);
    assert.equal(manager.state.kind, "starting");
  });
});

describe("renewal on demand", () => {
  it("happens at once and tells the subscribers", async () => {
    const seen: string[] = [];
    manager.subscribe(({ serial }) => seen.push(serial));
    await started();
    const renewed = await manager.renew();
    assert.equal(renewed.serial, "2");
    assert.deepEqual(seen, ["1", "2"]);
  });

  it("joins one that is under way", async () => {
    await started();
    const [first, second] = await Promise.all([manager.renew(), manager.renew()]);
    assert.equal(first, second);
    assert.equal(requests.length, 2);
  });

  it("says why it failed, and the old certificate stays", async () => {
    await started();
    answer = down;
    await assert.rejects(manager.renew(), { code: "unavailable", message: "nobody there" });
    assert.equal(manager.state.kind, "renewal-failing");
  });

  it("takes the place of the one that was due", async () => {
    await started();
    await clock.advance(LIFE_MS / 4);
    await manager.renew();
    await clock.advance(LIFE_MS / 2 - 1);
    assert.equal(requests.length, 2);
  });
});

describe("a manager that was stopped", () => {
  it("asks no more and leaves no timer behind", async () => {
    await started();
    manager.stop();
    assert.equal(clock.waiting, 0);
    await clock.advance(LIFE_MS);
    assert.equal(requests.length, 1);
    await assert.rejects(manager.renew(), { code: "unavailable" });
  });

  it("does not use an answer that comes later", async () => {
    const late = Promise.withResolvers<CertificateAnswer>();
    answer = () => late.promise;
    await started();
    manager.stop();
    late.resolve(issue());
    await clock.advance(0);
    assert.equal(manager.state.kind, "stopped");
    assert.equal(clock.waiting, 0);
  });
});
