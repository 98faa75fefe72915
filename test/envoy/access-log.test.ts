/**
 * What a real Envoy reports by its access log service, held against the entries in `test/golden/als`, which the audit
 * store's decoding is tested with. `GARRISON_UPDATE_GOLDEN=1` writes those entries anew.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { connect as connectTcp, createServer as createTcpServer, type Server } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { type JsonObject, toJson } from "@bufbuild/protobuf";
import { readHttpEntry } from "../../src/audit/als-entry.ts";
import type { AuthorizationLayers, InboundListener, OutboundListener, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { AccessLogType, HTTPAccessLogEntrySchema, TCPAccessLogEntrySchema } from "../../src/gen/envoy/data/accesslog/v3/accesslog_pb.js";
import type { Clause } from "../../src/policy/model.ts";
import { renderEnvoy } from "../../src/render/envoy/render.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { ask, type ClientOptions, exchange, requestBytes } from "./client.ts";
import type { LogEntry } from "./fake-control-plane.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { freePort, LOOPBACK } from "./loopback.ts";
import { clause, inbound, OPEN, policyOf, portOf, ruleWhen, Scenario } from "./scenario.ts";

const skip = skipWithoutEnvoy();
const GOLDEN = join(import.meta.dirname, "..", "golden", "als");
const UPDATE = process.env.GARRISON_UPDATE_GOLDEN === "1";

// === The workload ===

const ACCOUNTS = "cluster.local/ns/photo-ns/sa/";
const OTHER = `spiffe://${ACCOUNTS}other`;
const httpApp = createHttpServer((_request, response) => response.end("served"));
const tcpApp = createTcpServer((socket) => {
  socket.on("error", () => undefined);
  socket.on("data", () => socket.end("served"));
});
const ca = new FakeCa();
let scenario: Scenario;
let listeners: {
  readonly http: InboundListener;
  readonly tcp: InboundListener;
  readonly permissive: InboundListener;
  readonly outHttp: OutboundListener;
  readonly outTcp: OutboundListener;
};

const principal = (account: string): Clause => clause("principal", [{ kind: "exact", value: ACCOUNTS + account }]);
const path = (value: string): Clause => clause("path", [{ kind: "prefix", value }]);

/** Two rules of DENY match the same: the one whose name comes first in the order of text is the one that is told. */
function layers(audited: Clause, denied: Clause, allow: AuthorizationLayers["allow"]): AuthorizationLayers {
  return { audit: [ruleWhen("audit", 0, audited)], deny: [ruleWhen("deny", 10, denied), ruleWhen("deny", 2, denied)], allow };
}

function policyWith(rules: Pick<WorkloadPolicy, "http" | "tcp">): WorkloadPolicy {
  const { http, tcp, permissive, outHttp, outTcp } = listeners;
  return policyOf({ inbound: [http, tcp, permissive], outbound: [outHttp, outTcp], ...rules });
}

/** DENY and AUDIT rules, with or without an ALLOW beside them. */
function rulesWith(allow: AuthorizationLayers["allow"]): Pick<WorkloadPolicy, "http" | "tcp"> {
  return { http: layers(path("/audited"), path("/denied"), allow), tcp: layers(principal("audited"), principal("denied"), allow) };
}

/** A way out that leads back to a listener of this very workload, where another identity is expected. */
async function outbound(protocol: "http" | "tcp", name: string, port: number, target: number): Promise<OutboundListener> {
  const host = `${name}.photo-ns.svc.cluster.local`;
  const endpoints = [{ address: LOOPBACK, port: target, identity: OTHER, mtls: true }];
  const services = [{ service: `photo-ns/${name}`, host, port, protocol, sni: `outbound_.${port}_._.${host}`, endpoints }];
  return { name: `outbound_${protocol}`, bind: { kind: "tcp", host: LOOPBACK, port: await freePort() }, protocol, services };
}

before(async () => {
  if (skip) return;
  for (const server of [httpApp, tcpApp]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  const at = (server: Server) => ({ kind: "tcp", host: "127.0.0.1", port: portOf(server) }) as const;
  const http = await inbound({ protocol: "http", mtls: "STRICT", endpoint: at(httpApp) });
  const permissive = await inbound({ protocol: "http", mtls: "PERMISSIVE", endpoint: at(httpApp) });
  const tcp = await inbound({ protocol: "tcp", mtls: "STRICT", endpoint: at(tcpApp) });
  listeners = {
    http,
    tcp,
    permissive,
    outHttp: await outbound("http", "wrong", 80, http.port),
    outTcp: await outbound("tcp", "wrongt", 81, tcp.port),
  };
  scenario = await Scenario.start(policyWith(rulesWith([ruleWhen("frontend", 0, principal("photo-frontend"))])), ca);
});

after(async () => {
  await scenario?.stop();
  httpApp.close();
  tcpApp.close();
});

// === Reading entries ===

/** An entry as it stands in a golden file: the address and the ports are always the same. */
function toGolden({ log, kind, entry }: LogEntry): JsonObject {
  const json = kind === "http" ? toJson(HTTPAccessLogEntrySchema, entry) : toJson(TCPAccessLogEntrySchema, entry);
  const { http, tcp } = listeners;
  const text = JSON.stringify({ log, kind, entry: json })
    .replaceAll(LOOPBACK, "127.0.0.1")
    .replace(new RegExp(`\\b(inbound_|inbound\\|)?${http.port}\\b`, "g"), "$18080")
    .replace(new RegExp(`\\b(inbound_|inbound\\|)?${tcp.port}\\b`, "g"), "$19090");
  return JSON.parse(text) as JsonObject;
}

const VERDICT = [
  "connectionTerminationDetails",
  "responseFlags",
  "metadata",
  "accessLogType",
  "intermediateLogEntry",
  "upstreamCluster",
  "upstreamTransportFailureReason",
  "downstreamTransportFailureReason",
];

/** The fields that tell what came of it; times, ports and sizes aside. */
function verdictOf(golden: JsonObject): unknown {
  const { log, kind, entry } = golden as unknown as {
    log: string;
    kind: string;
    entry: { commonProperties: JsonObject; response?: JsonObject };
  };
  const common = entry.commonProperties;
  const { tlsProperties } = common as unknown as { tlsProperties?: { peerCertificateProperties?: JsonObject } };
  return {
    log,
    kind,
    ...Object.fromEntries(VERDICT.map((field) => [field, common[field]])),
    connectedToApplication: common.upstreamLocalAddress !== undefined,
    peer: tlsProperties?.peerCertificateProperties?.subjectAltName,
    code: entry.response?.responseCode,
    details: entry.response?.responseCodeDetails,
  };
}

/** Does something, waits for the entry that it causes, and holds it against the golden file. */
async function expectEntry(name: string, act: () => Promise<unknown>, isIt: (entry: LogEntry) => boolean): Promise<void> {
  const from = scenario.controlPlane.logs.length;
  const find = (): LogEntry | undefined => scenario.controlPlane.logs.slice(from).find(isIt);
  await act();
  await scenario.controlPlane.until(() => find() !== undefined);
  const found = find();
  assert.ok(found);
  const golden = toGolden(found);
  const file = join(GOLDEN, `${name}.json`);
  if (UPDATE) writeFileSync(file, `${JSON.stringify(golden, undefined, 2)}\n`);
  assert.deepEqual(verdictOf(golden), verdictOf(JSON.parse(readFileSync(file, "utf8")) as JsonObject));
}

// === Clients, and where their entries come ===

function as(account: string): ClientOptions["tls"] {
  return { material: ca.material(`spiffe://${ACCOUNTS}${account}`) };
}
const get = (account: string, at: string) => () => ask({ port: listeners.http.port, ...tlsOf(as(account)) }, { path: at });
const send = (account: string) => () => exchange({ port: listeners.tcp.port, ...tlsOf(as(account)) }, "x");
const tlsOf = (tls: ClientOptions["tls"]) => (tls === undefined ? {} : { tls });

const inHttp = ({ log }: LogEntry): boolean => log === listeners.http.name;
/** The entries of an account's own connections: those of others may still be on their way. */
const inTcp =
  (type: AccessLogType, account: string) =>
  ({ log, entry: { commonProperties: common } }: LogEntry): boolean => {
    const names = common?.tlsProperties?.peerCertificateProperties?.subjectAltName ?? [];
    return (
      log === listeners.tcp.name &&
      common?.accessLogType === type &&
      names.some(({ san }) => san.value === `spiffe://${ACCOUNTS}${account}`)
    );
  };
const connected = (account: string) => inTcp(AccessLogType.TcpUpstreamConnected, account);
const ended = (account: string) => inTcp(AccessLogType.TcpConnectionEnd, account);
const refusedBy =
  (name: "http" | "tcp" | "outHttp" | "outTcp") =>
  ({ log }: LogEntry): boolean =>
    log === `${listeners[name].name}/refused`;

const askedFor =
  (at: string) =>
  (each: LogEntry): boolean =>
    each.kind === "http" && each.entry.request?.path === at;

// === Decisions, with an ALLOW ===

test("HTTP allowed by a rule names the rule", { skip }, () => expectEntry("http-allow-rule", get("photo-frontend", "/photos?x=1"), inHttp));
test("HTTP allowed by a rule names the AUDIT rule too", { skip }, () =>
  expectEntry("http-allow-rule-audited", get("photo-frontend", "/audited"), inHttp),
);
test("HTTP denied by a rule names the first of those that match, in the order of their names", { skip }, () =>
  expectEntry("http-deny-rule", get("photo-frontend", "/denied"), inHttp),
);
test("HTTP denied by default names none", { skip }, () => expectEntry("http-deny-default", get("other", "/photos"), inHttp));
test("HTTP denied by default names the AUDIT rule alone", { skip }, () =>
  expectEntry("http-deny-default-audited", get("other", "/audited"), inHttp),
);
test("TCP allowed by a rule is told when the application is connected to", { skip }, () =>
  expectEntry("tcp-allow-rule-connected", send("photo-frontend"), connected("photo-frontend")),
);
test("TCP allowed by a rule is told once more at its end", { skip }, () =>
  expectEntry("tcp-allow-rule-end", send("photo-frontend"), ended("photo-frontend")),
);
test("TCP denied by a rule names the first of those that match", { skip }, () =>
  expectEntry("tcp-deny-rule", send("denied"), ended("denied")),
);
test("TCP denied by default names none", { skip }, () => expectEntry("tcp-deny-default", send("other"), ended("other")));
test("TCP denied by default names the AUDIT rule alone", { skip }, () =>
  expectEntry("tcp-deny-default-audited", send("audited"), ended("audited")),
);

// === Refusals ===

const foreign = { material: ca.material("spiffe://elsewhere/ns/photo-ns/sa/photo-frontend") };
const foreignRoot = { material: { ...new FakeCa("other").material(`spiffe://${ACCOUNTS}photo-frontend`), roots: ca.rootPem } };

test("plaintext to a STRICT HTTP port is told", { skip }, () =>
  expectEntry("refused-plaintext-http", () => exchange({ port: listeners.http.port }, requestBytes({})), refusedBy("http")),
);
test("plaintext to a STRICT TCP port is told", { skip }, () =>
  expectEntry("refused-plaintext-tcp", () => exchange({ port: listeners.tcp.port }, requestBytes({})), refusedBy("tcp")),
);
test("a certificate of a foreign trust domain is told with its name", { skip }, () =>
  expectEntry(
    "refused-foreign-trust-domain",
    () => exchange({ port: listeners.http.port, tls: foreign }, requestBytes({})),
    refusedBy("http"),
  ),
);
test("a certificate of a foreign root is told", { skip }, () =>
  expectEntry("refused-foreign-root", () => exchange({ port: listeners.http.port, tls: foreignRoot }, requestBytes({})), refusedBy("http")),
);
test("a client without a certificate is told", { skip }, () =>
  expectEntry(
    "refused-no-certificate",
    () => exchange({ port: listeners.http.port, tls: { material: { roots: ca.rootPem } } }, requestBytes({})),
    refusedBy("http"),
  ),
);

const portOfBind = ({ bind }: OutboundListener): number => (bind.kind === "tcp" ? bind.port : 0);
const outHttp = () => ask({ port: portOfBind(listeners.outHttp) });

test("an HTTP server that is not the right one is told by the client's side", { skip }, () =>
  expectEntry("outbound-refused-http", outHttp, refusedBy("outHttp")),
);
test("a TCP server that is not the right one is told by the client's side", { skip }, () =>
  expectEntry("outbound-refused-tcp", () => exchange({ port: portOfBind(listeners.outTcp) }, "x"), refusedBy("outTcp")),
);
test("a client that refuses this server is told by the server's side", { skip }, () =>
  expectEntry("refused-by-client", outHttp, refusedBy("http")),
);

// === What is not told ===

test("a refused connection is told once, and one that was served is not told as refused", { skip }, async () => {
  const { controlPlane } = scenario;
  await get("photo-frontend", "/last")();
  await controlPlane.until(() => controlPlane.logs.some((each) => each.kind === "http" && each.entry.request?.path === "/last"));
  const isFailed = ({ entry }: LogEntry): boolean => entry.commonProperties?.downstreamTransportFailureReason !== "";
  assert.deepEqual(
    controlPlane.logs.filter((each) => each.log === listeners.http.name || each.log === listeners.tcp.name).filter(isFailed),
    [],
  );
  assert.equal(controlPlane.logs.filter(refusedBy("tcp")).every(isFailed), true);
  assert.equal(controlPlane.logs.filter(refusedBy("http")).every(isFailed), true);
});

test("plaintext that a PERMISSIVE port takes is not told as refused, where TLS that is not the mesh's is", { skip }, async () => {
  const { controlPlane } = scenario;
  const { permissive } = listeners;
  const refusals = (): readonly LogEntry[] => controlPlane.logs.filter(({ log }) => log === `${permissive.name}/refused`);
  await ask({ port: permissive.port }, { path: "/in-the-clear" });
  await controlPlane.until(() => controlPlane.logs.some((each) => each.log === permissive.name && askedFor("/in-the-clear")(each)));
  await exchange({ port: permissive.port, tls: { material: { roots: ca.rootPem }, alpn: ["http/1.1"] } }, requestBytes({}));
  await controlPlane.until(() => refusals().length > 0);
  assert.deepEqual(
    refusals().map(({ entry }) => entry.commonProperties?.responseFlags?.noRouteFound),
    [true],
  );
});

test("a peer that resets its connection after it was served is not told as refused", { skip }, async () => {
  const { controlPlane } = scenario;
  const { key, chain, roots } = ca.material(`spiffe://${ACCOUNTS}photo-frontend`);
  const socket = connectTcp({ host: LOOPBACK, port: listeners.tcp.port });
  await once(socket, "connect");
  const from = socket.localPort;
  const tls = connectTls({ socket, key, cert: chain, ca: roots, ALPNProtocols: ["istio"], checkServerIdentity: () => undefined });
  tls.on("error", () => undefined);
  tls.write("x");
  await once(tls, "data");
  socket.resetAndDestroy();
  const isItsOwn = ({ entry }: LogEntry): boolean => {
    const address = entry.commonProperties?.downstreamDirectRemoteAddress?.address;
    const port = address?.case === "socketAddress" ? address.value.portSpecifier : undefined;
    return port?.case === "portValue" && port.value === from;
  };
  await controlPlane.until(() => controlPlane.logs.some((each) => ended("photo-frontend")(each) && isItsOwn(each)));
  // Entries of one log come in order: when a later one is there, this one would be.
  const before = controlPlane.logs.filter(refusedBy("tcp")).length;
  await exchange({ port: listeners.tcp.port }, requestBytes({}));
  await controlPlane.until(() => controlPlane.logs.filter(refusedBy("tcp")).length > before);
  assert.deepEqual(controlPlane.logs.filter(refusedBy("tcp")).filter(isItsOwn), []);
});

test("a method that Envoy's entries have no word for is told too", { skip }, async () => {
  const { controlPlane } = scenario;
  await ask({ port: listeners.http.port, ...tlsOf(as("photo-frontend")) }, { method: "PURGE", path: "/purged" });
  await controlPlane.until(() => controlPlane.logs.some(askedFor("/purged")));
  const found = controlPlane.logs.find(askedFor("/purged"));
  assert.ok(found?.kind === "http");
  const from = { workload: "photo-ns/me", identity: OTHER, log: found.log, serviceOf: () => "" };
  assert.partialDeepStrictEqual(readHttpEntry(found.entry, from), { record: { method: "PURGE", path: "/purged" } });
});

test("the path is told as it was decided of: normalized", { skip }, async () => {
  await get("photo-frontend", "/x/../%70hotos?q=%2e")();
  await scenario.controlPlane.until(() => scenario.controlPlane.logs.some(askedFor("/photos?q=%2e")));
});

// === Decisions without an ALLOW ===

test("without any policy no rule is named", { skip }, async () => {
  await scenario.controlPlane.serve(renderEnvoy(policyWith({ http: OPEN, tcp: OPEN })));
  for (let tries = 0; (await get("other", "/denied")()).status !== 200; tries++) assert.ok(tries < 500);
  await expectEntry("http-allow-no-policy", get("other", "/photos"), askedFor("/photos"));
  for (let tries = 0; !(await send("denied")()).includes("served"); tries++) assert.ok(tries < 500);
  await expectEntry("tcp-allow-no-policy-connected", send("other"), connected("other"));
  await expectEntry("tcp-allow-no-policy-end", send("other"), ended("other"));
});

test("without an ALLOW the AUDIT rule alone is named", { skip }, async () => {
  await scenario.controlPlane.serve(renderEnvoy(policyWith(rulesWith(undefined))));
  for (let tries = 0; (await get("other", "/denied")()).status !== 403; tries++) assert.ok(tries < 500);
  await expectEntry("http-allow-no-policy-audited", get("other", "/audited"), askedFor("/audited"));
  for (let tries = 0; (await send("denied")()).includes("served"); tries++) assert.ok(tries < 500);
  await expectEntry("tcp-allow-no-policy-audited-connected", send("audited"), connected("audited"));
});

test("an application that is down is told as what it is, not as a denial", { skip }, async () => {
  for (const server of [httpApp, tcpApp]) server.close();
  httpApp.closeAllConnections();
  for (let tries = 0; (await get("other", "/")()).status !== 503; tries++) assert.ok(tries < 500);
  await expectEntry("http-allow-application-down", get("other", "/photos"), askedFor("/photos"));
  await expectEntry(
    "tcp-allow-application-down",
    send("other"),
    (each) => ended("other")(each) && each.entry.commonProperties?.upstreamLocalAddress === undefined,
  );
});

test("Envoy refused nothing of all this", { skip }, () => {
  assert.deepEqual(scenario.controlPlane.nacks, []);
});
