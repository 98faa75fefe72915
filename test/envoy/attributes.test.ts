/**
 * Each attribute in a real Envoy: values full of characters that mean something to regular expressions, bytes that are
 * no UTF-8, repeated headers. Every question is asked of a DENY, where a matcher that misses lets somebody in.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import type { CompiledRule, InboundListener, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { attributeRow } from "../../src/policy/attributes.ts";
import { parseIpBlock } from "../../src/policy/ip-block.ts";
import type { Clause } from "../../src/policy/model.ts";
import { formatValueMatch, type StringMatch, type ValueMatch } from "../../src/policy/pattern.ts";
import { renderEnvoy } from "../../src/render/envoy/render.ts";
import { type Asked, ask, type ClientOptions, exchange, requestBytes } from "./client.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { clause, FRONTEND, inbound, OPEN, policyOf, portOf, ruleWhen, Scenario } from "./scenario.ts";

const skip = skipWithoutEnvoy();

const exact = (value: string): StringMatch => ({ kind: "exact", value });
const prefix = (value: string): StringMatch => ({ kind: "prefix", value });
const suffix = (value: string): StringMatch => ({ kind: "suffix", value });
const present: StringMatch = { kind: "present" };
const block = (text: string): ValueMatch => ({ kind: "ip", block: parseIpBlock(text) });

const HTTP_SNI = "outbound_.80_._.photo.backend";

/** What a request differs in from the plain one: by default GET /, host photo-backend, from FRONTEND at 127.0.0.1. */
interface Probe extends Asked {
  readonly peer?: string;
  readonly from?: string;
  readonly sni?: string;
}

interface Case {
  readonly clause: Clause;
  readonly matching: readonly Probe[];
  readonly missing: readonly Probe[];
}

const header = (...values: readonly string[]): Probe => ({ headers: values.map((value) => ["x-version", value]) });
const inNamespace = (namespace: string): Probe => ({ peer: `spiffe://cluster.local/ns/${namespace}/sa/x` });
const onHeader = (match: StringMatch, negated = false): Clause => clause("header", [match], { argument: "x-version", negated });

const CASES: readonly Case[] = [
  {
    clause: onHeader(exact("a.b*(c)|[d]^$")),
    matching: [header("a.b*(c)|[d]^$"), header("z", "a.b*(c)|[d]^$")],
    missing: [header("axb*(c)|[d]^$"), header("a.b"), {}],
  },
  {
    clause: onHeader(prefix("v1.")),
    matching: [header("v1.2"), header("v1."), header("v0", "v1.2")],
    missing: [header("v1x2"), header("xv1.2")],
  },
  {
    clause: onHeader(suffix("+1")),
    matching: [header("a+1"), header("+1"), header("\xff+1")],
    missing: [header("a1"), header("+1a"), header("+", "1")],
  },
  { clause: onHeader(present), matching: [header("x"), header("", "x"), header("\xff\xfe"), header("é")], missing: [{}, header("")] },
  { clause: onHeader(exact("v1"), true), matching: [{}, header("v2"), header("\xff")], missing: [header("v1"), header("v2", "v1")] },
  {
    clause: clause("header", [exact("photo.example")], { argument: "host" }),
    matching: [{ host: "photo.example" }],
    missing: [{ host: "photoxexample" }],
  },
  {
    clause: clause("host", [exact("photo.example")]),
    matching: [{ host: "photo.example" }, { host: "PHOTO.Example" }],
    missing: [{ host: "photoxexample" }, { host: "photo.example:80" }],
  },
  { clause: clause("host", [prefix("photo.")]), matching: [{ host: "Photo.example" }], missing: [{ host: "photoxexample" }] },
  {
    clause: clause("host", [suffix(".example")]),
    matching: [{ host: "photo.EXAMPLE" }],
    missing: [{ host: "photoxexample" }, { host: "photo.example.org" }],
  },
  { clause: clause("host", [present]), matching: [{ host: "a" }], missing: [] },
  { clause: clause("method", [exact("GET")]), matching: [{}], missing: [{ method: "HEAD" }] },
  { clause: clause("method", [prefix("P")]), matching: [{ method: "PUT" }, { method: "PROPFIND" }], missing: [{}] },
  { clause: clause("method", [suffix("T")]), matching: [{}, { method: "PUT" }], missing: [{ method: "HEAD" }] },
  { clause: clause("method", [present]), matching: [{}, { method: "DELETE" }], missing: [] },
  {
    clause: clause("path", [exact("/a.b(c)+")]),
    matching: [{ path: "/a.b(c)+" }, { path: "/a.b(c)+?q" }, { path: "/a.b(c)+#f" }],
    missing: [{ path: "/axb(c)+" }, { path: "/a.b(c)+/" }, { path: "/A.b(c)+" }],
  },
  { clause: clause("path", [prefix("/a.")]), matching: [{ path: "/a.b" }, { path: "/x/../a.b" }], missing: [{ path: "/axb" }] },
  {
    clause: clause("path", [suffix(".jpg")]),
    matching: [{ path: "/a.jpg" }, { path: "/a.jpg?x" }],
    missing: [{ path: "/ajpg" }, { path: "/a.jpg/" }, { path: "/a?.jpg" }],
  },
  { clause: clause("path", [present]), matching: [{}, { path: "/%ff" }], missing: [] },
  {
    clause: clause("path", [
      {
        kind: "template",
        text: "/v1.0/{*}/photos",
        segments: [{ kind: "literal", value: "v1.0" }, { kind: "one" }, { kind: "literal", value: "photos" }],
      },
    ]),
    matching: [{ path: "/v1.0/7/photos" }, { path: "/v1.0/[7]/photos" }, { path: "/v1.0/a|b/photos" }, { path: "/v1.0/%ff*/photos?x" }],
    missing: [{ path: "/v1x0/7/photos" }, { path: "/v1.0/7/8/photos" }, { path: "/v1.0//photos" }, { path: "/v1.0/7/photos/" }],
  },
  {
    clause: clause("path", [{ kind: "template", text: "/x/{**}", segments: [{ kind: "literal", value: "x" }, { kind: "rest" }] }]),
    matching: [{ path: "/x/" }, { path: "/x/a" }, { path: "/x/a/[b]" }],
    missing: [{ path: "/x" }, { path: "/xy/a" }],
  },
  {
    clause: clause("sni", [exact("photo.backend")]),
    matching: [{ sni: "photo.backend" }],
    missing: [{ sni: "photoxbackend" }, { sni: HTTP_SNI }],
  },
  { clause: clause("sni", [prefix("outbound_.80_._.")]), matching: [{ sni: HTTP_SNI }], missing: [{ sni: "outbound_x80_._.a" }] },
  { clause: clause("sni", [suffix(".backend")]), matching: [{ sni: HTTP_SNI }], missing: [{ sni: "photoxbackend" }] },
  { clause: clause("sni", [present]), matching: [{ sni: "a" }], missing: [{ sni: "" }] },
  { clause: clause("principal", [exact("cluster.local/ns/a.b/sa/x")]), matching: [inNamespace("a.b")], missing: [inNamespace("axb"), {}] },
  { clause: clause("principal", [prefix("cluster.local/ns/a.")]), matching: [inNamespace("a.b")], missing: [inNamespace("axb")] },
  { clause: clause("principal", [suffix(".b/sa/x")]), matching: [inNamespace("a.b")], missing: [inNamespace("axb")] },
  { clause: clause("principal", [present]), matching: [{}, inNamespace("a")], missing: [] },
  {
    clause: clause("principal", [exact("cluster.local/ns/a/sa/x")], { negated: true }),
    matching: [{}, inNamespace("b")],
    missing: [inNamespace("a")],
  },
  {
    clause: clause("namespace", [exact("a.b")]),
    matching: [inNamespace("a.b")],
    missing: [inNamespace("axb"), { peer: "spiffe://cluster.local/x/ns/a.b/sa/x" }, { peer: "spiffe://cluster.local/ns/q/sa/ns/a.b/sa/x" }],
  },
  { clause: clause("namespace", [prefix("a.")]), matching: [inNamespace("a."), inNamespace("a.b")], missing: [inNamespace("ab")] },
  { clause: clause("namespace", [suffix(".b")]), matching: [inNamespace("a.b")], missing: [inNamespace("axb"), inNamespace("a.b.c")] },
  { clause: clause("namespace", [present]), matching: [{}], missing: [{ peer: "spiffe://cluster.local/other/form" }] },
  {
    clause: clause("serviceAccount", [{ kind: "service-account", namespace: "n.s", name: "s.a" }]),
    matching: [{ peer: "spiffe://cluster.local/ns/n.s/sa/s.a" }],
    missing: [
      { peer: "spiffe://cluster.local/ns/nxs/sa/s.a" },
      { peer: "spiffe://cluster.local/ns/n.s/sa/sxa" },
      { peer: "spiffe://cluster.local/ns/n.s/sa/s.a/x" },
    ],
  },
  { clause: clause("trustDomain", [exact("cluster.local")]), matching: [{}], missing: [{ peer: "spiffe://clusterxlocal/ns/a/sa/x" }] },
  { clause: clause("trustDomain", [suffix(".local")]), matching: [{}], missing: [{ peer: "spiffe://clusterxlocal/ns/a/sa/x" }] },
  { clause: clause("trustDomain", [present]), matching: [{}, { peer: "spiffe://clusterxlocal/ns/a/sa/x" }], missing: [] },
  {
    clause: clause("sourceIp", [block("127.0.0.8/30")]),
    matching: [{ from: "127.0.0.9" }],
    missing: [{}, { from: "127.0.0.12" }, { headers: [["x-forwarded-for", "127.0.0.9"]] }],
  },
  {
    clause: clause("remoteIp", [block("127.0.0.9")]),
    matching: [{ from: "127.0.0.9" }],
    missing: [{ headers: [["x-forwarded-for", "127.0.0.9"]] }, { headers: [["x-envoy-external-address", "127.0.0.9"]] }],
  },
  { clause: clause("destinationIp", [block("127.0.0.0/8")]), matching: [{}], missing: [] },
  { clause: clause("destinationIp", [block("10.0.0.0/8"), block("2001:db8::/32")]), matching: [], missing: [{}] },
];

const app = createServer((_request, response) => response.end("served"));
const tcpApp = createServer((_request, response) => response.end("served"));
let scenario: Scenario;
let http: InboundListener;
let tcp: InboundListener;

function policyWith(deny: readonly CompiledRule[], onTcp: readonly CompiledRule[] = []): WorkloadPolicy {
  return policyOf({
    inbound: [http, tcp],
    trustDomains: ["cluster.local", "clusterxlocal"],
    http: { ...OPEN, deny },
    tcp: { ...OPEN, deny: onTcp },
  });
}

before(async () => {
  if (skip) return;
  for (const server of [app, tcpApp]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  http = await inbound({ protocol: "http", mtls: "STRICT", endpoint: { kind: "tcp", host: "127.0.0.1", port: portOf(app) } });
  tcp = await inbound({ protocol: "tcp", mtls: "STRICT", endpoint: { kind: "tcp", host: "127.0.0.1", port: portOf(tcpApp) } });
  scenario = await Scenario.start(policyWith([]));
});

after(async () => {
  await scenario?.stop();
  app.close();
  tcpApp.close();
});

function client(port: number, { peer = FRONTEND, from = "127.0.0.1", sni = HTTP_SNI }: Probe): ClientOptions {
  return { port, from, tls: { material: scenario.ca.material(peer), sni } };
}

let pushes = 0;

/** Puts rules in force on both transports: until a rule of the same push holds there, which asks for somebody else. */
async function enforce(rules: readonly CompiledRule[], onTcp: readonly CompiledRule[]): Promise<void> {
  pushes += 1;
  const marked = `spiffe://cluster.local/marker/${pushes}`;
  const marker = ruleWhen("marker", pushes, clause("principal", [exact(marked.slice("spiffe://".length))]));
  await scenario.controlPlane.serve(renderEnvoy(policyWith([...rules, marker], [...onTcp, marker])));
  for (const served of [isServed, isServedOnTcp]) {
    for (let tries = 0; await served({ peer: marked }); tries++) assert.ok(tries < 500, "the rules never came into force");
  }
}

/** Whether the application answers; anything but an answer or a denial fails. */
async function isServed(probe: Probe): Promise<boolean> {
  const { status } = await ask(client(http.port, probe), probe);
  assert.ok(status === 200 || status === 403, `status ${status}`);
  return status === 200;
}

async function isServedOnTcp(probe: Probe): Promise<boolean> {
  return (await exchange(client(tcp.port, probe), requestBytes({}))).includes("served");
}

function describe({ attribute, values, negated }: Clause): string {
  return `${negated ? "not " : ""}${attribute} ${values.map((value) => (value.kind === "present" ? "*" : `${value.kind} ${formatValueMatch(value)}`)).join(" or ")}`;
}

for (const { clause: asked, matching, missing } of CASES) {
  const isLayer4 = attributeRow(asked.attribute).layer === 4;
  test(`${describe(asked)} is matched by Envoy's ${isLayer4 ? "HTTP and network filters" : "HTTP filter"}`, { skip }, async () => {
    const rules = [ruleWhen("deny", 0, asked)];
    await enforce(rules, isLayer4 ? rules : []);
    for (const probe of matching) assert.equal(await isServed(probe), false, JSON.stringify(probe));
    for (const probe of missing) assert.equal(await isServed(probe), true, JSON.stringify(probe));
    for (const probe of isLayer4 ? matching : []) assert.equal(await isServedOnTcp(probe), false, `TCP ${JSON.stringify(probe)}`);
    for (const probe of isLayer4 ? missing : []) assert.equal(await isServedOnTcp(probe), true, `TCP ${JSON.stringify(probe)}`);
  });
}

test("destinationPort is the listener's", { skip }, async () => {
  const rules = [ruleWhen("deny", 0, clause("destinationPort", [{ kind: "port", port: http.port }]))];
  await enforce(rules, rules);
  assert.equal(await isServed({}), false);
  assert.equal(await isServedOnTcp({}), true);
});

test("Envoy refused nothing of all this", { skip }, () => {
  assert.deepEqual(scenario.controlPlane.nacks, []);
});
