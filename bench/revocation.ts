/**
 * From `garrison ca revoke` to the last of many connected proxies that has it and says so. The proxies are simulated: each has its own certificate, stream
 * and policy, as the embedded proxy has, and acknowledges at once. `node bench/revocation.ts [PROXIES]`: 1,000 without a number.
 */
import type { IssuedCertificate } from "../src/agent/issued-certificate.ts";
import { callAdmin } from "../src/cli/admin-client.ts";
import { silentLogger } from "../src/core/logger.ts";
import { clientCredentials, RotatingTlsMaterial } from "../src/rpc/credentials.ts";
import type { RevocationAnswer } from "../src/server/revocation.ts";
import { AdsClient } from "../src/xds/client.ts";
import { Fleet } from "./fleet.ts";
import { print } from "./harness.ts";

const PROXIES = Number(process.argv[2] ?? 1_000);
const REVOCATIONS = 10;
const TOGETHER = 16;
const TYPE_URL = "type.googleapis.com/garrison.v1.ProxyPolicy";

const workload = (name: string) => `---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: fleet }
spec: { address: 127.0.0.1, serviceAccount: ${name}, labels: { app: ${name} } }
`;
/** One more than there are proxies: its certificates are those that are revoked. */
const fleet = new Fleet(PROXIES + 1, workload);

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
  const key = String(privateKey.export({ type: "pkcs8", format: "pem" }));
  const ready = Promise.withResolvers<void>();
  const client = new AdsClient({
    address: `${host}:${port}`,
    credentials: clientCredentials(
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

const clients: AdsClient[] = [];
try {
  await fleet.start();
  let told = 0;
  let lastAt = 0;
  const names = [...fleet.names];
  const victim = names.pop() ?? "";
  await Promise.all(
    Array.from({ length: TOGETHER }, async () => {
      for (let name = names.pop(); name !== undefined; name = names.pop())
        clients.push(
          await connect(name, () => {
            told += 1;
            lastAt = performance.now();
          }),
        );
    }),
  );
  const acknowledged: number[] = [];
  const reached: number[] = [];
  for (let round = 0; round < REVOCATIONS; round++) {
    const { serial } = await certificateOf(victim);
    told = 0;
    const began = performance.now();
    const answer = (await callAdmin(fleet.controlPlane.adminSocket, "POST", "/v1/ca/revoke", {
      kind: "serial",
      value: serial,
    })) as RevocationAnswer;
    if (answer.proxies.acknowledged !== PROXIES || told !== PROXIES)
      throw new Error(`${answer.proxies.acknowledged} of ${PROXIES} have it`);
    acknowledged.push(answer.tookMs);
    reached.push(lastAt - began);
  }
  const ms = (values: readonly number[]) => {
    const sorted = values.toSorted((a, b) => a - b);
    return { median: Math.round(sorted[sorted.length >> 1] ?? Number.NaN), max: Math.round(sorted.at(-1) ?? Number.NaN) };
  };
  print({
    bench: "revocation",
    proxies: PROXIES,
    revocations: REVOCATIONS,
    lastHasIt: ms(reached),
    allAcknowledged: ms(acknowledged),
    serverMB: fleet.memory(),
  });
} finally {
  for (const client of clients) client.close();
  await fleet.stop();
}
