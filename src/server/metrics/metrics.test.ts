import assert from "node:assert/strict";
import { test } from "node:test";
import { status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import type { XdsConnection, XdsEvent } from "../../xds/connection.ts";
import type { AdmissionRequest } from "../webhook/admission-review.ts";
import { countedHandlers, countedService } from "./counted.ts";
import { Metrics } from "./metrics.ts";

/** The lines of a metric that say more than zero. */
async function told(metrics: Metrics, name: string): Promise<readonly string[]> {
  const lines = (await metrics.text()).split("\n");
  return lines.filter((line) => line.startsWith(name) && !line.endsWith(" 0"));
}

const LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener";

function answered(kind: "ack" | "nack", typeUrl: string, latencyMs: number): XdsEvent {
  const connection = {} as XdsConnection;
  return { kind, key: "envoy shop/cart", connection, typeUrl, version: "1", latencyMs, names: ["secret-name"], message: "secret words" };
}

test("what proxies answer is counted by known types, whatever else they ask for, and their words go nowhere", async () => {
  const metrics = new Metrics();
  const count = async () => (await metrics.text()).split("\n").length;
  metrics.xds(answered("ack", LISTENER, 20));
  metrics.xds(answered("nack", LISTENER, 2_000));
  metrics.xds(answered("ack", "type.googleapis.com/evil.First", 1));
  const before = await count();
  for (let index = 0; index < 100; index += 1) metrics.xds(answered("nack", `type.googleapis.com/evil.Type${index}`, 1));
  assert.equal(await count(), before);
  assert.deepEqual(await told(metrics, "garrison_xds_answers_total"), [
    'garrison_xds_answers_total{type="Listener",answer="ack"} 1',
    'garrison_xds_answers_total{type="Listener",answer="nack"} 1',
    'garrison_xds_answers_total{type="other",answer="ack"} 1',
    'garrison_xds_answers_total{type="other",answer="nack"} 100',
  ]);
  assert.match(await metrics.text(), /answer_duration_seconds_bucket\{le="0\.025",type="Listener"\} 1\n/);
  assert.match(await metrics.text(), /answer_duration_seconds_sum\{type="Listener"\} 2\.02\n/);
  assert.doesNotMatch(await metrics.text(), /evil|secret|cart/);
});

test("there is a zero before the first time, so that this is an increase", async () => {
  const metrics = new Metrics();
  countedHandlers({ "/validate": () => ({ allowed: true }) }, metrics);
  countedService({ CreateCertificate: () => undefined }, metrics);
  const text = await metrics.text();
  for (const line of [
    'garrison_xds_answers_total{type="Cluster",answer="nack"} 0',
    'garrison_webhook_reviews_total{webhook="validate",verdict="failed"} 0',
    'garrison_identity_requests_total{method="CreateCertificate",code="PERMISSION_DENIED"} 0',
  ])
    assert.ok(text.includes(`${line}\n`), line);
});

test("a request is counted by its method and status, and answered as it was", async () => {
  const metrics = new Metrics();
  const failure = { code: status.PERMISSION_DENIED, details: "no" };
  const answers = [[null, "yes"], [failure], [new Error("no code")]] as const;
  const Mint = (call: number, callback: (...answer: readonly unknown[]) => void): void => callback(...(answers[call] ?? []));
  const service = countedService({ Mint } as unknown as UntypedServiceImplementation, metrics);
  const got: unknown[] = [];
  for (const call of answers.keys()) (service.Mint as unknown as typeof Mint)(call, (...answer) => void got.push(answer));
  assert.deepEqual(got, answers);
  assert.deepEqual(await told(metrics, "garrison_identity_requests_total"), [
    'garrison_identity_requests_total{method="Mint",code="OK"} 1',
    'garrison_identity_requests_total{method="Mint",code="PERMISSION_DENIED"} 1',
    'garrison_identity_requests_total{method="Mint",code="UNKNOWN"} 1',
  ]);
});

test("a review is counted by its verdict, one that fails too, and fails as before", async () => {
  const metrics = new Metrics();
  const handlers = countedHandlers(
    {
      "/inject": ({ uid }) => {
        if (uid === "broken") throw new Error("cannot tell");
        return uid === "good" ? { allowed: true } : { allowed: false, message: "no", causes: [] };
      },
    },
    metrics,
  );
  const ask = (uid: string) => handlers["/inject"]?.({ uid } as AdmissionRequest);
  assert.equal(ask("good")?.allowed, true);
  assert.equal(ask("bad")?.allowed, false);
  assert.throws(() => ask("broken"), /cannot tell/);
  assert.deepEqual(await told(metrics, "garrison_webhook_reviews_total"), [
    'garrison_webhook_reviews_total{webhook="inject",verdict="allowed"} 1',
    'garrison_webhook_reviews_total{webhook="inject",verdict="refused"} 1',
    'garrison_webhook_reviews_total{webhook="inject",verdict="failed"} 1',
  ]);
});
