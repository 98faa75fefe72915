/** The proxy as its agent starts it: certificate by SDS, policy by ADS, records back, all over real sockets. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Server, type ServerDuplexStream } from "@grpc/grpc-js";
import { certificateSecret, FakeAgent, rootsSecret } from "../../test/fakes/fake-agent.ts";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { type Application, startApplication } from "../../test/fakes/http-application.ts";
import { call, peerAgent } from "../../test/fakes/http-clients.ts";
import { pickPort } from "../../test/fakes/ports.ts";
import { BACKEND, FRONTEND, fromPrincipal, INTRUDER, inboundListener, layers, rule, workloadPolicy } from "../../test/fakes/proxy-setup.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { serverCredentials } from "../../test/fixture/server-credentials.ts";
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { AggregatedDiscoveryService } from "../gen/envoy/service/discovery/v3/ads_pb.js";
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import {
  DecisionLog,
  type DecisionRecord,
  ProxyPolicySchema,
  type ReportRequest,
  type ReportResponse,
} from "../gen/garrison/v1/proxy_pb.js";
import { RotatingTlsMaterial } from "../rpc/credentials.ts";
import { serviceDefinition } from "../rpc/service.ts";
import { type RunningProxy, runProxy } from "./main.ts";
import { PROXY_POLICY_TYPE } from "./policy-message.ts";

const CONTROL_PLANE = "spiffe://cluster.local/ns/istio-system/sa/garrison";
const ca = new FakeCa();

/** A queue that tests read one by one. */
class Inbox<T> {
  readonly #items: T[] = [];
  readonly #readers: ((item: T) => void)[] = [];

  put(item: T): void {
    const reader = this.#readers.shift();
    if (reader === undefined) this.#items.push(item);
    else reader(item);
  }

  take(): Promise<T> {
    const item = this.#items.shift();
    return item === undefined ? new Promise((resolve) => this.#readers.push(resolve)) : Promise.resolve(item);
  }
}

class FakeControlPlane {
  readonly requests = new Inbox<DeltaDiscoveryRequest>();
  readonly records = new Inbox<DecisionRecord>();
  /** Who connected, by certificate. */
  readonly callers = new Set<string>();
  readonly #server = new Server();
  #call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> | undefined;
  #nonce = 0;

  async start(identity: string): Promise<number> {
    this.#server.addService(serviceDefinition(AggregatedDiscoveryService), {
      StreamAggregatedResources: () => undefined,
      DeltaAggregatedResources: (call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>) => {
        this.#call = call;
        this.callers.add(call.getAuthContext().sslPeerCertificate?.subjectaltname ?? "nobody");
        call.sendMetadata(call.metadata.clone());
        call.on("data", (message: DeltaDiscoveryRequest) => this.requests.put(message));
        call.on("error", () => undefined);
      },
    });
    this.#server.addService(serviceDefinition(DecisionLog), {
      Report: (call: ServerDuplexStream<ReportRequest, ReportResponse>) => {
        call.on("data", ({ records }: ReportRequest) => {
          for (const record of records) this.records.put(record);
        });
        call.on("end", () => call.end());
        call.on("error", () => undefined);
      },
    });
    const credentials = serverCredentials(new RotatingTlsMaterial(ca.material(identity)));
    return new Promise((resolve, reject) => {
      this.#server.bindAsync("127.0.0.1:0", credentials, (error, port) => (error === null ? resolve(port) : reject(error)));
    });
  }

  /** Sends a policy and returns the answer. */
  async push(policy: WorkloadPolicy): Promise<DeltaDiscoveryRequest> {
    const value = toBinary(ProxyPolicySchema, create(ProxyPolicySchema, { json: Buffer.from(JSON.stringify(policy)) }));
    this.#nonce += 1;
    const resources = [{ name: policy.workload, version: String(this.#nonce), resource: { typeUrl: PROXY_POLICY_TYPE, value } }];
    this.#call?.write(create(DeltaDiscoveryResponseSchema, { typeUrl: PROXY_POLICY_TYPE, nonce: String(this.#nonce), resources }));
    return this.requests.take();
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}

let folder: string;
let application: Application;
let agent: FakeAgent;
let controlPlane: FakeControlPlane;
let logger: RecordingLogger;
let proxy: RunningProxy;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "gp-"));
  application = await startApplication();
  agent = new FakeAgent();
  controlPlane = new FakeControlPlane();
  logger = new RecordingLogger();
  await agent.start(join(folder, "sds.sock"));
});
afterEach(async () => {
  await proxy.stop();
  agent.stop();
  controlPlane.stop();
  await application.close();
  rmSync(folder, { recursive: true });
});

async function start(identity = CONTROL_PLANE): Promise<void> {
  const port = await controlPlane.start(identity);
  proxy = await runProxy(
    {
      workload: "photo-ns/photo-backend",
      node: { id: "sidecar~127.0.0.1~photo-backend.photo-ns~photo-ns.svc.cluster.local", cluster: "photo-backend.photo-ns", metadata: {} },
      controlPlane: { address: "127.0.0.1", port, identity: CONTROL_PLANE },
      sdsSocket: join(folder, "sds.sock"),
      readySocket: join(folder, "ready.sock"),
    },
    logger,
  );
  await agent.request(1);
}

async function sendCertificate(): Promise<void> {
  const material = ca.material(BACKEND);
  await agent.send(certificateSecret(material), rootsSecret(material.roots));
}

function readiness(): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: join(folder, "ready.sock"), path: "/ready", agent: false }, (response) => {
      let text = `${response.statusCode} `;
      response.on("data", (chunk) => {
        text += String(chunk);
      });
      response.on("end", () => resolve(text.trim()));
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}

test("certificate, policy, decisions and records go their way, and readiness says what is waited for", async () => {
  await start();
  assert.equal(await readiness(), "503 waiting for a certificate from the agent");
  await sendCertificate();
  const first = await controlPlane.requests.take();
  assert.deepEqual(
    [first.typeUrl, first.resourceNamesSubscribe, first.node?.cluster],
    [PROXY_POLICY_TYPE, ["photo-ns/photo-backend"], "photo-backend.photo-ns"],
  );
  assert.equal(await readiness(), "503 waiting for a policy from the control plane");
  assert.deepEqual([...controlPlane.callers], [`URI:${BACKEND}`]);

  const port = await pickPort();
  const inbound = [inboundListener(application.port, { port })];
  const answer = await controlPlane.push(workloadPolicy({ inbound, http: layers({ allow: [rule("frontend", fromPrincipal(FRONTEND))] }) }));
  assert.deepEqual([answer.responseNonce, answer.errorDetail], ["1", undefined]);
  assert.equal(await readiness(), "200 LIVE");

  assert.equal((await call({ port, agent: peerAgent(ca.material(FRONTEND)) })).status, 200);
  assert.equal((await call({ port, agent: peerAgent(ca.material(INTRUDER)) })).status, 403);
  const records = [await controlPlane.records.take(), await controlPlane.records.take()];
  assert.deepEqual(
    records.map(({ caller, effect, origin }) => [caller, effect, origin]),
    [
      [FRONTEND, "allow", "photo-ns/frontend[0]"],
      [INTRUDER, "deny", "default"],
    ],
  );
});

test("a policy that this version does not know is answered with the reason, and the last one stays", async () => {
  await start();
  await sendCertificate();
  await controlPlane.requests.take();
  const port = await pickPort();
  await controlPlane.push(workloadPolicy({ inbound: [inboundListener(application.port, { port })] }));
  const odd = workloadPolicy({ http: layers({ deny: [rule("odd", { kind: "sometimes" } as never)] }) });
  const answer = await controlPlane.push(odd);
  assert.match(answer.errorDetail?.message ?? "", /a rule's condition is of an unknown kind/);
  assert.equal((await call({ port, agent: peerAgent(ca.material(FRONTEND)) })).status, 200);
});

test("a listener whose address is taken is answered with the address", async () => {
  await start();
  await sendCertificate();
  await controlPlane.requests.take();
  const answer = await controlPlane.push(workloadPolicy({ inbound: [inboundListener(0, { port: application.port })] }));
  assert.equal(
    answer.errorDetail?.message,
    `\`photo-ns/photo-backend\`: cannot listen on \`127.0.0.1:${application.port}\`: something else does`,
  );
});

test("a control plane that is somebody else is told nothing", async () => {
  await start(INTRUDER);
  await sendCertificate();
  await logger.line("lost the control plane");
  assert.deepEqual([...controlPlane.callers], []);
  assert.equal(await readiness(), "503 waiting for a policy from the control plane");
});
