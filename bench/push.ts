/**
 * From a cluster's event to what arrives at its proxies: 1,000 services and 2,000 pods, whose API server is played in this process, and
 * so many proxies in another, each with a connection and a certificate of its own. `node --expose-gc bench/push.ts [PROXIES]
 * [isolated|visible] [delta|sotw] [--kubernetes]`. With `--kubernetes` the API server is a real one (KUBEBUILDER_ASSETS), to which
 * everything is written, and times count from when its events come.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Server } from "@grpc/grpc-js";
import { type Authority, openAuthority } from "../src/ca/authority.ts";
import { startServing } from "../src/ca/serving.ts";
import { systemClock } from "../src/core/clock.ts";
import { silentLogger } from "../src/core/logger.ts";
import { formatSpiffeId } from "../src/identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../src/identity/trust-domain.ts";
import { DEFAULT_CLUSTER_DOMAIN, DEFAULT_ROOT_NAMESPACE } from "../src/mesh/snapshot.ts";
import { streamAdmission } from "../src/server/admission.ts";
import { listenTls } from "../src/server/listen.ts";
import { MeshState } from "../src/server/mesh-state.ts";
import { Publisher } from "../src/server/publisher.ts";
import { RENDERERS } from "../src/server/render.ts";
import { watchCluster } from "../src/sources/kubernetes/cluster-source.ts";
import { watchedKinds } from "../src/sources/kubernetes/watched-kinds.ts";
import { buildCsr, generateKey } from "../src/x509/csr-builder.ts";
import { ResourceCache } from "../src/xds/cache.ts";
import { ADS_SERVER_OPTIONS, createAdsService } from "../src/xds/service.ts";
import { print } from "./harness.ts";
import { BenchCluster, peerAuthenticationObject, placeOf, policyObject, sliceObject } from "./push/cluster.ts";
import { RealCluster } from "./push/kubernetes.ts";
import type { Arrivals, Order, ProxyIdentity } from "./push/messages.ts";

const SETTINGS = {
  trustDomain: DEFAULT_TRUST_DOMAIN,
  rootNamespace: DEFAULT_ROOT_NAMESPACE,
  clusterDomain: DEFAULT_CLUSTER_DOMAIN,
};
/** Proxies that have not all connected by then are given up. */
const MOST_MS = 300_000;
/** Without anything that arrives, a push is over. */
const QUIET_MS = 300;

function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

const round = (value: number, digits = 1): number => Number(value.toFixed(digits));

/** The pods of a service share their account's certificate. */
async function identities(authority: Authority, count: number): Promise<readonly ProxyIdentity[]> {
  const key = generateKey();
  const pem = key.export({ type: "pkcs8", format: "pem" }).toString();
  const chains = new Map<string, Promise<string>>();
  const chainOf = async (namespace: string, serviceAccount: string): Promise<string> => {
    const identity = {
      trustDomain: DEFAULT_TRUST_DOMAIN,
      namespace,
      serviceAccount,
    };
    const csr = buildCsr(key, formatSpiffeId(identity));
    const { leaf, intermediates } = await authority.recorded(await authority.issue({ csr, identity, ttlSeconds: 0, caller: "bench" }));
    return [leaf, ...intermediates].join("");
  };
  return Promise.all(
    Array.from({ length: count }, async (_, pod) => {
      const { namespace, name, account } = placeOf(pod);
      const chain = chains.get(account) ?? chainOf(namespace, account);
      chains.set(account, chain);
      return { namespace, name, key: pem, chain: await chain };
    }),
  );
}

const { values: flags, positionals } = parseArgs({ allowPositionals: true, options: { kubernetes: { type: "boolean", default: false } } });
const [count = "1000", sight = "isolated", variant = "delta"] = positionals;
const proxies = Number(count);
const about = { proxies, sight, variant, ...(flags.kubernetes ? { server: "kube-apiserver" } : {}) };
const endings: (() => unknown)[] = [];
// An API server would go on without us.
process.once("SIGTERM", async () => {
  for (const end of endings) await end();
  process.exit(1);
});

const stateFolder = mkdtempSync(join(tmpdir(), "garrison-bench-"));
const child = fork(join(import.meta.dirname, "push", "proxies.ts"));
const authority = openAuthority({
  stateFolder,
  trustDomain: DEFAULT_TRUST_DOMAIN,
  clock: systemClock,
  logger: silentLogger,
});
const serving = await startServing({
  authority,
  clock: systemClock,
  logger: silentLogger,
});
const scope = { after: (end: () => unknown) => void endings.unshift(end) };
const cluster = flags.kubernetes ? await RealCluster.start(scope, sight === "visible", now) : new BenchCluster(sight === "visible");
const mesh = new MeshState(SETTINGS, silentLogger);
const cache = new ResourceCache();
const publisher = new Publisher(cache, RENDERERS, mesh.current, silentLogger);
mesh.onChange((view) => publisher.publish(view));
const source = await watchCluster({
  api: cluster.api,
  logger: silentLogger,
  kinds: watchedKinds(DEFAULT_ROOT_NAMESPACE),
  onSnapshot: (snapshot) => mesh.apply(snapshot),
});
const ads = createAdsService({
  cache,
  logger: silentLogger,
  admit: streamAdmission({
    snapshot: () => mesh.current.snapshot,
    trust: () => authority.trust,
    clock: systemClock,
  }),
  connected: (key) => publisher.connected(key),
  disconnected: (key) => publisher.disconnected(key),
  abort: (address) => tlsPort.abort(address),
});
const server = new Server(ADS_SERVER_OPTIONS);
server.addService(ads.definition, ads.implementation);
const tlsPort = await listenTls(server, { listen: { host: "127.0.0.1", port: 0 }, material: serving.material });
const { port } = tlsPort;

function tell(order: Order): void {
  child.send(order);
}

async function arrivals(): Promise<Arrivals> {
  tell({ kind: "count" });
  const [counted] = (await once(child, "message")) as [Arrivals];
  return counted;
}

async function connectAll(): Promise<void> {
  const known = await identities(authority, proxies);
  await sleep(500);
  globalThis.gc?.();
  const [began, cpu] = [now(), cpuSeconds()];
  const order = {
    kind: "connect",
    port,
    roots: authority.rootsPem,
    variant: variant === "sotw" ? "sotw" : "delta",
    proxies: known,
  } as const;
  tell(order);
  const total = { responses: 0, bytes: 0 };
  let rss = 0;
  for (let complete = 0; complete < proxies; ) {
    await sleep(100);
    const counted = await arrivals();
    complete = counted.complete;
    total.responses += counted.responses;
    total.bytes += counted.bytes;
    rss = Math.max(rss, process.memoryUsage.rss());
    if (now() - began > MOST_MS) break;
  }
  const seconds = round((now() - began) / 1000, 2);
  print({
    bench: "push, all connect at once",
    ...about,
    seconds,
    cpuSeconds: round(cpuSeconds() - cpu, 2),
    mb: round(total.bytes / 1e6),
    responses: total.responses,
    rssMb: Math.round(process.memoryUsage.rss() / 1e6),
    peakRssMb: Math.round(rss / 1e6),
  });
}

async function settled(): Promise<void> {
  for (let quiet = 0; quiet < 3; ) {
    await sleep(100);
    quiet = (await arrivals()).responses === 0 ? quiet + 1 : 0;
  }
}

interface Outcome {
  readonly firstMs: number;
  readonly medianMs: number;
  readonly lastMs: number;
  readonly cpuMs: number;
  readonly got: number;
  readonly bytes: number;
}

async function oneChange(change: () => Promise<number>): Promise<Outcome> {
  await settled();
  const cpu = cpuSeconds();
  const began = await change();
  await sleep(QUIET_MS);
  /** By proxy, when it had the last of it. */
  const last = new Map<number, number>();
  let bytes = 0;
  for (let counted = await arrivals(); counted.responses > 0; counted = await arrivals()) {
    for (const [index, proxy] of counted.proxies.entries()) last.set(proxy, counted.last[index] ?? Number.NaN);
    bytes += counted.bytes;
    await sleep(QUIET_MS);
  }
  const cpuMs = round((cpuSeconds() - cpu) * 1000);
  const times = [...last.values()].map((at) => at - began).sort((left, right) => left - right);
  return {
    firstMs: round(times[0] ?? Number.NaN),
    medianMs: round(times[times.length >> 1] ?? Number.NaN),
    lastMs: round(times.at(-1) ?? Number.NaN),
    cpuMs,
    got: last.size,
    bytes,
  };
}

/** The best of some turns, since the machine has others to serve. */
async function change(what: string, edit: (turn: number) => Promise<number>): Promise<void> {
  const turns: Outcome[] = [];
  for (let turn = 1; turn <= 5; turn++) turns.push(await oneChange(() => edit(turn)));
  turns.sort((left, right) => left.lastMs - right.lastMs);
  print({
    bench: `push, ${what}`,
    ...about,
    ...turns[0],
    medians: turns.map(({ medianMs }) => medianMs).join(" "),
  });
}

/** Some pod becomes ready, or is no longer, ten times a second. */
async function churn(seconds: number): Promise<void> {
  await settled();
  const [began, cpu] = [now(), cpuSeconds()];
  const total = { responses: 0, bytes: 0 };
  for (let turn = 0; turn < seconds * 10; turn++) {
    const due = began + turn * 100;
    if (due > now()) await sleep(due - now());
    void cluster.tell("endpointslices", sliceObject((turn % 100) * 10, turn % 200 >= 100));
    if (turn % 20 === 19) {
      const counted = await arrivals();
      total.responses += counted.responses;
      total.bytes += counted.bytes;
    }
  }
  const cores = (cpuSeconds() - cpu) / ((now() - began) / 1000);
  print({
    bench: "push, endpoints change 10 times a second",
    ...about,
    seconds,
    cores: round(cores, 2),
    responses: total.responses,
    mb: round(total.bytes / 1e6),
  });
}

try {
  await connectAll();
  await change("a policy of one application", (turn) => cluster.tell("authorizationpolicies", policyObject(7, `/turn-${turn}`)));
  await change("a policy of the root namespace", (turn) => cluster.tell("authorizationpolicies", policyObject(-1, `/turn-${turn}`)));
  await change("a mesh-wide PeerAuthentication", (turn) =>
    cluster.tell("peerauthentications", peerAuthenticationObject(turn % 2 === 1 ? "PERMISSIVE" : "STRICT")),
  );
  await churn(8);
} finally {
  child.kill();
  ads.close();
  tlsPort.close();
  server.forceShutdown();
  await source.close();
  serving.close();
  authority.close();
  rmSync(stateFolder, { recursive: true });
  for (const end of endings) await end();
}
