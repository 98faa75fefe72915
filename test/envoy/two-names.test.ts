/** A certificate with two names, of which the CA that signed it may give one: its holder is nobody, in both engines. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { after, before, test } from "node:test";
import { readHttpEntry, readTcpEntry } from "../../src/audit/als-entry.ts";
import type { WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { generateKey, spkiOf } from "../../src/x509/csr-builder.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { makeProxy } from "../fakes/proxy-setup.ts";
import { exchange } from "./client.ts";
import { listening } from "./custom-sides.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { BACKEND, clause, FRONTEND, inbound, OPEN, policyOf, ruleWhen, Scenario } from "./scenario.ts";

const skip = skipWithoutEnvoy();
const ca = new FakeCa("own");
const foreign = new FakeCa("foreign");
const THEIRS = "spiffe://other.example/ns/a/sa/b";
const BUNDLES = new Map([
  ["cluster.local", ca.rootPem],
  ["other.example", foreign.rootPem],
]);
const application = createServer((_request, response) => response.end("reached"));
const tcpApplication = createTcpServer((socket) => socket.on("data", () => socket.end("reached")));
const only = (policy: string, principal: string) =>
  ruleWhen(policy, 0, clause("principal", [{ kind: "exact", value: principal.replace("spiffe://", "") }]));
const stops: (() => Promise<void>)[] = [];
let envoy: Scenario | undefined;
/** By engine and protocol. */
const ports = new Map<string, number>();

async function policyFor(engine: string, more: Partial<WorkloadPolicy>): Promise<WorkloadPolicy> {
  const target = async (server: Parameters<typeof listening>[0]) =>
    ({
      kind: "tcp",
      host: "127.0.0.1",
      port: server.listening ? (server.address() as { port: number }).port : await listening(server),
    }) as const;
  const http = await inbound({ protocol: "http", mtls: "STRICT", endpoint: await target(application) });
  const tcp = await inbound({ protocol: "tcp", mtls: "STRICT", endpoint: await target(tcpApplication) });
  ports.set(`${engine} http`, http.port).set(`${engine} tcp`, tcp.port);
  const trustDomains = ["cluster.local", "other.example"];
  return policyOf({ inbound: [http, tcp], trustDomains, foreignTrustDomains: ["other.example"], ...more });
}

before(async () => {
  if (skip) return;
  const layers = { ...OPEN, allow: [only("frontend", FRONTEND), only("theirs", THEIRS)] };
  const rules = { http: layers, tcp: layers };
  const scenario = await Scenario.start(await policyFor("envoy", rules), ca, undefined, undefined, BUNDLES);
  envoy = scenario;
  stops.push(() => scenario.stop());
  const { proxy, credentials, material } = makeProxy({ ca });
  credentials.update(material("spiffe://cluster.local/ns/photo-ns/sa/photo-backend"), BUNDLES);
  await proxy.apply(await policyFor("embedded", rules));
  stops.push(() => proxy.close(0));
});
after(async () => {
  await Promise.all(stops.map((stop) => stop()));
  application.close();
  tcpApplication.close();
});

interface Case {
  readonly what: string;
  readonly signer: FakeCa;
  readonly identities: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly served: boolean;
}

const CASES: readonly Case[] = [
  { what: "the name of its own domain", signer: ca, identities: [FRONTEND], served: true },
  { what: "the name of a federated domain", signer: foreign, identities: [THEIRS], served: true },
  { what: "the same beside a DNS name", signer: foreign, identities: [THEIRS], dnsNames: ["b.other.example"], served: true },
  { what: "a name that is not the CA's to give", signer: foreign, identities: [FRONTEND], served: false },
  { what: "the CA's own name and one that is not", signer: foreign, identities: [THEIRS, FRONTEND], served: false },
  { what: "one that is not the CA's and then its own", signer: foreign, identities: [FRONTEND, THEIRS], served: false },
];

function materialOf({ signer, identities, dnsNames = [] }: Case): TlsMaterial {
  const key = generateKey();
  const chain = signer.sign({ spki: spkiOf(key), identities, dnsNames });
  return { key: key.export({ type: "pkcs8", format: "pem" }).toString(), chain, roots: ca.rootPem };
}

const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

for (const engine of ["envoy", "embedded"])
  for (const protocol of ["http", "tcp"])
    for (const one of CASES)
      test(`${one.what} ${one.served ? "is served" : "reaches nothing"} (${engine}, ${protocol})`, { skip }, async () => {
        const port = ports.get(`${engine} ${protocol}`) ?? 0;
        const text = await exchange({ port, tls: { material: materialOf(one) } }, REQUEST).catch(String);
        assert.equal(text.includes("reached"), one.served, text);
      });

test("a name of ours among the DNS names of another domain's certificate is none (envoy)", { skip }, async () => {
  const material = materialOf({ what: "", signer: foreign, identities: [THEIRS], dnsNames: [FRONTEND], served: false });
  const text = await exchange({ port: ports.get("envoy http") ?? 0, tls: { material } }, REQUEST).catch(String);
  assert.match(text, /^HTTP\/1\.1 403 /);
});

test("Envoy's record says that it is a refusal, as the embedded proxy's does", { skip }, async () => {
  assert.ok(envoy !== undefined);
  const { controlPlane } = envoy;
  const from = { workload: "photo-ns/photo-backend", identity: BACKEND, serviceOf: () => "" };
  const told = () =>
    controlPlane.logs.flatMap(({ log, ...entry }) => {
      const meaning = entry.kind === "http" ? readHttpEntry(entry.entry, { ...from, log }) : readTcpEntry(entry.entry, { ...from, log });
      const { effect, origin, detail, protocol } = meaning.kind === "record" ? meaning.record : {};
      return effect === "refused" && detail?.includes("URI name") ? [`${protocol} ${origin}`] : [];
    });
  await controlPlane.until(() => told().length >= 3);
  assert.deepEqual(told().sort(), ["http ", "http ", "tcp "]);
});
