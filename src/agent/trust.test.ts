import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type ServerDuplexStream, status } from "@grpc/grpc-js";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { CONTROL_PLANE_IDENTITY, FakeCsrServer } from "../../test/fakes/fake-csr-server.ts";
import { until } from "../../test/fakes/processes.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { SdsTestClient, secretText } from "../../test/fakes/sds-client.ts";
import { type TrustReport, type TrustUpdate, TrustUpdateSchema } from "../gen/garrison/v1/trust_pb.js";
import { type Agent, startAgent } from "./agent.ts";

const IDENTITY = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend";
const WORKLOAD = "photo-ns/photo-frontend";
const other = new FakeCa("other");

let folder: string;
let server: FakeCsrServer;
let logger: RecordingLogger;
let agent: Agent;
let sds: SdsTestClient;
/** Of every stream, in their order. */
let calls: ServerDuplexStream<TrustReport, TrustUpdate>[];
let reports: TrustReport[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "garrison-trust-"));
  logger = new RecordingLogger();
  server = new FakeCsrServer(IDENTITY);
  [calls, reports] = [[], []];
  server.follow = (call) => {
    calls.push(call);
    call.on("error", () => undefined);
    call.on("data", (report: TrustReport) => reports.push(report));
  };
  writeFileSync(join(folder, "root-cert.pem"), server.ca.rootPem);
  writeFileSync(join(folder, "token"), "token");
});
afterEach(async () => {
  sds?.close();
  await agent.stop();
  server.kill();
  rmSync(folder, { recursive: true });
});

async function start(): Promise<void> {
  await server.start();
  agent = await startAgent({
    workload: WORKLOAD,
    identity: IDENTITY,
    address: "127.0.0.1",
    controlPlane: { address: "127.0.0.1", port: server.port, identity: CONTROL_PLANE_IDENTITY },
    rootCertificateFile: join(folder, "root-cert.pem"),
    tokenFile: join(folder, "token"),
    outputCertificates: join(folder, "certificates"),
    runFolder: join(folder, "run"),
    proxy: { kind: "none" },
    random: () => 0,
    logger,
  });
  sds = new SdsTestClient(join(folder, "run", "sds.sock"));
}

/** A bundle of the agent's own trust domain. */
const bundle = (...roots: readonly string[]) => ({ trustDomain: "cluster.local", roots: roots.join(""), sequence: 7n });

function push(update: MessageInitShape<typeof TrustUpdateSchema>): void {
  calls.at(-1)?.write(create(TrustUpdateSchema, update));
}

async function following(count = 1): Promise<void> {
  await until(`stream ${count} is open and begun`, () => calls.length >= count && reports.some(({ nonce }) => nonce === ""));
}

/** The answer to the update with this nonce. */
async function answer(nonce: string): Promise<TrustReport> {
  await until(`there is an answer to ${nonce}`, () => reports.some((report) => report.nonce === nonce));
  const found = reports.find((report) => report.nonce === nonce);
  assert.ok(found);
  return found;
}

describe("an agent that follows the trust bundle", () => {
  it("names its workload, and puts pushed roots before its proxy and into its files before it acknowledges them", async () => {
    await start();
    await following();
    assert.equal(reports[0]?.workload, WORKLOAD);
    const proxy = sds.open("delta");
    proxy.send({ subscribe: ["ROOTCA"] });
    proxy.send({ nonce: (await proxy.next()).nonce });
    push({ nonce: "one", bundles: [bundle(server.ca.rootPem, other.rootPem)] });
    const { nonce, secrets } = await proxy.next();
    assert.equal(secretText(secrets[0]).roots, server.ca.rootPem + other.rootPem);
    assert.equal(readFileSync(join(folder, "certificates", "root-cert.pem"), "utf8"), server.ca.rootPem + other.rootPem);
    assert.equal(
      reports.some((report) => report.nonce === "one"),
      false,
    );
    proxy.send({ nonce });
    assert.equal((await answer("one")).refusal, "");
    assert.equal((await agent.status()).trustPushed, true);
    assert.equal(server.requests.length, 1, "no certificate was asked for");
  });

  it("tells why an update is not in force: the proxy refused it, or it has no roots of the own trust domain", async () => {
    await start();
    await following();
    push({ nonce: "none", bundles: [] });
    assert.match((await answer("none")).refusal, /sent no roots of `cluster.local`/);
    push({ nonce: "damaged", bundles: [bundle("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")] });
    assert.match((await answer("damaged")).refusal, /cannot be read/);
    const proxy = sds.open("sotw");
    proxy.send({ subscribe: ["ROOTCA"] });
    proxy.send({ subscribe: ["ROOTCA"], nonce: (await proxy.next()).nonce });
    push({ nonce: "refused", bundles: [bundle(other.rootPem, server.ca.rootPem)] });
    proxy.send({ subscribe: ["ROOTCA"], nonce: (await proxy.next()).nonce, refusal: "not today" });
    assert.match((await answer("refused")).refusal, /not today/);
  });

  it("does not acknowledge what its files do not have", async () => {
    await start();
    await following();
    renameSync(join(folder, "certificates"), join(folder, "away"));
    push({ nonce: "one", bundles: [bundle(server.ca.rootPem, other.rootPem)] });
    assert.match((await answer("one")).refusal, /could not be written to its files/);
  });

  it("renews when its issuer is tainted, once, and reports the new certificate", async () => {
    await start();
    await following();
    const tainted = [server.ca.root.subjectKeyId ?? ""];
    const { serial: first } = (await agent.status()).certificate;
    push({ nonce: "one", bundles: [bundle(server.ca.rootPem)], tainted: ["00"], renewWithinMs: 50 });
    await answer("one");
    assert.equal(server.requests.length, 1, "another authority is no concern");
    push({ nonce: "two", bundles: [bundle(server.ca.rootPem)], tainted, renewWithinMs: 50 });
    await until("the new certificate is reported", () => reports.some(({ serial }) => serial !== "" && serial !== first));
    const { serial, authority } = reports.at(-1) ?? {};
    assert.deepEqual([serial, authority], [(await agent.status()).certificate.serial, tainted[0]]);
    assert.equal(server.requests.length, 2);
  });

  it("renews when its certificate was revoked, and not for one that it has no more", async () => {
    await start();
    await following();
    const { serial: first = "" } = (await agent.status()).certificate;
    push({ nonce: "one", bundles: [bundle(server.ca.rootPem)], revoked: first, renewWithinMs: 50 });
    await until("the new certificate is reported", () => reports.some(({ serial }) => serial !== "" && serial !== first));
    push({ nonce: "two", bundles: [bundle(server.ca.rootPem)], revoked: first, renewWithinMs: 50 });
    await answer("two");
    assert.equal(server.requests.length, 2);
    assert.ok(logger.messages.some((line) => line.includes("the certificate was revoked: renewing")));
  });

  it("renews when the control plane does not take its certificate, as after a revocation that it could not be told of", async () => {
    server.follow = (call) => {
      calls.push(call);
      call.on("error", () => undefined);
      call.once("data", () => call.emit("error", Object.assign(new Error("the certificate is revoked"), { code: status.UNAUTHENTICATED })));
    };
    await start();
    await until("another certificate is asked for", () => server.requests.length > 1);
  });

  it("renews when its own certificate leads to none of the roots any more", async () => {
    await start();
    await following();
    server.answer = () => "silence";
    push({ nonce: "one", bundles: [bundle(other.rootPem)], renewWithinMs: 50 });
    await until("a certificate is asked for", () => server.requests.length === 2);
  });

  it("comes back when the stream ends, and takes what it missed", async () => {
    await start();
    await following();
    push({ nonce: "one", bundles: [bundle(server.ca.rootPem)] });
    await answer("one");
    calls[0]?.end();
    await following(2);
    push({ nonce: "two", bundles: [bundle(server.ca.rootPem, other.rootPem)] });
    assert.equal((await answer("two")).refusal, "");
  });

  it("works as before with a control plane that pushes nothing", async () => {
    server.follow = undefined;
    await start();
    await logger.line("the control plane pushes no trust bundle");
    const { ready, trustPushed } = await agent.status();
    assert.deepEqual([ready, trustPushed], [true, false]);
  });
});
