/**
 * From `garrison ca revoke` to the last proxy that refuses: many that are simulated, each with its own certificate, stream and policy, as the embedded proxy
 * has, which acknowledge at once; and in the same mesh real ones, Envoys and embedded proxies, each with a connection open of the client whose certificate is
 * revoked, which is asked without end until it is refused. Times are from the start of the command, whose own start is in them.
 * `node bench/revocation.ts [SIMULATED] [REAL OF EACH KIND]`: 1,000 and 4 without numbers.
 */
import { execFile } from "node:child_process";
import { loadavg } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { exportKey, type IssuedCertificate } from "../src/agent/issued-certificate.ts";
import { silentLogger } from "../src/core/logger.ts";
import { clientCredentials, RotatingTlsMaterial } from "../src/rpc/credentials.ts";
import type { RevocationAnswer } from "../src/server/revocation.ts";
import { AdsClient } from "../src/xds/client.ts";
import { Fleet } from "./fleet.ts";
import { print } from "./harness.ts";
import { now } from "./revocation/messages.ts";
import { RealServers } from "./revocation/servers.ts";

const [PROXIES = 1_000, REAL = 4] = process.argv.slice(2).map(Number);
const REVOCATIONS = 10;
const TOGETHER = 16;
const TYPE_URL = "type.googleapis.com/garrison.v1.ProxyPolicy";
const GARRISON = join(import.meta.dirname, "..", "bin", "garrison.mjs");

const run = promisify(execFile);
const names = Array.from({ length: PROXIES + 2 * REAL + 1 }, (_, index) => Fleet.nameOf(index));
const simulated = names.slice(0, PROXIES);
/** Its certificates are those that are revoked. */
const victim = names.at(-1) ?? "";
const servers = new RealServers();
await servers.prepare(names.slice(PROXIES, -1), (index) => (index < REAL ? "envoy" : "embedded"));

const workload = (name: string) => `---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: fleet }
spec: { address: 127.0.0.1, serviceAccount: ${name}, labels: { app: ${name} } }
${servers.objects(name)}`;
const fleet = new Fleet(names.length, workload);

async function certificateOf(name: string): Promise<IssuedCertificate> {
  for (;;) {
    const answer = await fleet.requestOf(name)(undefined);
    if (answer.kind === "issued") return answer.certificate;
  }
}

/** Connects a proxy; resolves when it has its policy. `told` is called with each one that it gets. */
async function connect(name: string, told: () => void): Promise<AdsClient> {
  const { privateKey, chain, roots } = await certificateOf(name);
  const { host, port } = fleet.controlPlane;
  const key = exportKey(privateKey);
  const ready = Promise.withResolvers<void>();
  const client = new AdsClient({
    address: `${host}:${port}`,
    credentials: () =>
      clientCredentials(
        new RotatingTlsMaterial({ key: "", chain: "", roots }),
        new RotatingTlsMaterial({ key, chain, roots: "" }),
        () => undefined,
      ),
    node: { id: name, cluster: name, metadata: { NAMESPACE: "fleet", WORKLOAD_NAME: name, GARRISON_PROXY: "embedded" } },
    typeUrl: TYPE_URL,
    names: [`fleet/${name}`],
    onResource: () => {
      ready.resolve();
      told();
    },
    onRemoved: () => undefined,
    logger: silentLogger,
  });
  await ready.promise;
  return client;
}

/** By the command; what the control plane answers it. */
async function revoke(serial: string): Promise<RevocationAnswer> {
  const state = dirname(fleet.controlPlane.adminSocket);
  const { stdout } = await run(process.execPath, [GARRISON, "ca", "revoke", "--serial", serial, "--state", state, "--json"]);
  return JSON.parse(stdout) as RevocationAnswer;
}

function statistics(values: readonly number[]): { readonly median: number; readonly max: number } {
  const sorted = values.toSorted((a, b) => a - b);
  return { median: Math.round(sorted[sorted.length >> 1] ?? Number.NaN), max: Math.round(sorted.at(-1) ?? Number.NaN) };
}

const clients: AdsClient[] = [];
try {
  await fleet.start();
  servers.start(fleet);
  const told: number[] = [];
  const waiting = [...simulated];
  await Promise.all(
    Array.from({ length: TOGETHER }, async () => {
      for (let name = waiting.pop(); name !== undefined; name = waiting.pop())
        clients.push(await connect(name, () => void told.push(now())));
    }),
  );
  const rounds: {
    readonly first: number;
    readonly last: number;
    readonly envoy: number;
    readonly embedded: number;
    readonly acknowledged: number;
  }[] = [];
  for (let round = 0; round < REVOCATIONS; round++) {
    const { serial, privateKey, chain } = await certificateOf(victim);
    await servers.open({ key: exportKey(privateKey), chain });
    told.length = 0;
    const began = now();
    const [{ proxies, tookMs }, { envoy, embedded }] = await Promise.all([revoke(serial), servers.refused()]);
    if (proxies.acknowledged !== PROXIES + 2 * REAL || told.length !== PROXIES)
      throw new Error(`${proxies.acknowledged} of ${PROXIES + 2 * REAL} have it, ${told.length} of the simulated`);
    const [first = 0] = told;
    rounds.push({
      first: first - began,
      last: (told.at(-1) ?? 0) - began,
      envoy: envoy - began,
      embedded: embedded - began,
      acknowledged: tookMs,
    });
  }
  print({
    bench: "revocation",
    simulated: PROXIES,
    real: { envoy: REAL, embedded: REAL },
    revocations: REVOCATIONS,
    load: Number((loadavg()[0] ?? 0).toFixed(1)),
    sinceCommandBegan: {
      firstHasIt: statistics(rounds.map(({ first }) => first)),
      lastHasIt: statistics(rounds.map(({ last }) => last)),
      lastEnvoyRefuses: statistics(rounds.map(({ envoy }) => envoy)),
      lastEmbeddedRefuses: statistics(rounds.map(({ embedded }) => embedded)),
    },
    sinceFirstHasIt: {
      lastHasIt: statistics(rounds.map(({ first, last }) => last - first)),
      lastEnvoyRefuses: statistics(rounds.map(({ first, envoy }) => envoy - first)),
      lastEmbeddedRefuses: statistics(rounds.map(({ first, embedded }) => embedded - first)),
    },
    sinceControlPlaneWasTold: { allAcknowledged: statistics(rounds.map(({ acknowledged }) => acknowledged)) },
    serverMB: fleet.memory(),
  });
} finally {
  for (const client of clients) client.close();
  await servers.stop();
  await fleet.stop();
}
