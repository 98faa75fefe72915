/**
 * CSR to certificate over the network, a second, by `garrison serve` (gRPC, with a service-account token and with a client certificate) and by step-ca (HTTPS, with one-time
 * tokens, its database on disk), both as processes of their own, asked in turns by one client with 1 and with 16 requests at a time. Needs `npm run setup:go`.
 */
import { spawn, spawnSync } from "node:child_process";
import { createPrivateKey, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Client, Metadata } from "@grpc/grpc-js";
import { SignJWT } from "jose";
import { IstioCertificateRequestSchema, type IstioCertificateResponse, IstioCertificateService } from "../src/gen/istio/v1/auth/ca_pb.js";
import { clientCredentials, RotatingTlsMaterial, type TlsMaterial } from "../src/rpc/credentials.ts";
import { serviceDefinition } from "../src/rpc/service.ts";
import { readControlPlaneFile } from "../src/server/files.ts";
import { buildCsr, generateKey } from "../src/x509/csr-builder.ts";
import { until } from "../test/fakes/processes.ts";
import { StepCa } from "../test/fixture/step-ca.ts";
import { print } from "./harness.ts";

const ROOT = join(import.meta.dirname, "..");
const GARRISON = join(ROOT, "bin", "garrison.mjs");
const STEP_CA = join(process.env.GARRISON_GO_TOOLS ?? join(ROOT, ".tools", "go", "bin"), "step-ca");
const SECONDS = 1.5;
const ROUNDS = 3;
const URI = "spiffe://cluster.local/ns/shop/sa/web";

/** Asks for one certificate. */
type Ask = () => Promise<unknown>;

interface Figures {
  readonly perSecond: number;
  readonly p99Ms: number;
}

async function measure(ask: Ask, concurrency: number): Promise<Figures> {
  const times: number[] = [];
  const start = performance.now();
  const end = start + SECONDS * 1000;
  const caller = async (): Promise<void> => {
    for (let began = performance.now(); began < end; began = performance.now()) {
      await ask();
      times.push(performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, caller));
  times.sort((left, right) => left - right);
  return {
    perSecond: Math.round(times.length / ((performance.now() - start) / 1000)),
    p99Ms: Number((times[Math.floor(times.length * 0.99)] ?? 0).toFixed(1)),
  };
}

function residentMiB(pid: number | undefined): number {
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024);
}

const folder = mkdtempSync(join(tmpdir(), "garrison-bench-"));
const state = join(folder, "state");
mkdirSync(join(folder, "mesh"));
writeFileSync(join(folder, "mesh", "web.yaml"), "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: web, namespace: shop }\n");
const serve = spawn(process.execPath, [GARRISON, "serve", "--config", join(folder, "mesh"), "--state", state, "--listen", "127.0.0.1:0"], {
  stdio: "ignore",
});
const step = new StepCa({ program: STEP_CA, folder: join(folder, "step"), port: 19_443 });
const csr = buildCsr(generateKey(), URI);
const clients: Client[] = [];

/** One connection to the control plane, with a certificate where one is given. */
function connect(roots: string, material?: TlsMaterial): (metadata: Metadata, of?: string) => Promise<IstioCertificateResponse> {
  const { port } = readControlPlaneFile(state);
  const identity = material === undefined ? undefined : new RotatingTlsMaterial(material);
  const credentials = clientCredentials(new RotatingTlsMaterial({ key: "", chain: "", roots }), identity, () => undefined);
  const client = new Client(`127.0.0.1:${port}`, credentials, {
    "grpc.ssl_target_name_override": "localhost",
    "grpc.use_local_subchannel_pool": 1,
  });
  clients.push(client);
  const { CreateCertificate: method } = serviceDefinition(IstioCertificateService);
  if (method === undefined) throw new Error("no such method");
  return (metadata, of = csr) =>
    new Promise((resolve, reject) => {
      const request = create(IstioCertificateRequestSchema, { csr: of });
      const deserialize = method.responseDeserialize as (bytes: Buffer) => IstioCertificateResponse;
      client.makeUnaryRequest(method.path, method.requestSerialize, deserialize, request, metadata, (error, answer) =>
        error === null && answer !== undefined ? resolve(answer) : reject(error),
      );
    });
}

async function garrisonAsks(): Promise<Readonly<Record<"token" | "certificate", Ask>>> {
  await until("garrison serves", () => existsSync(join(state, "control-plane.json")));
  const bearer = new Metadata();
  bearer.set(
    "authorization",
    `Bearer ${spawnSync(process.execPath, [GARRISON, "token", "shop/web", "--state", state], { encoding: "utf8" }).stdout.trim()}`,
  );
  const roots = readFileSync(readControlPlaneFile(state).rootCertificate, "utf8");
  const byToken = connect(roots);
  const key = generateKey();
  const [chain = ""] = (await byToken(bearer, buildCsr(key, URI))).certChain;
  const byCertificate = connect(roots, { key: key.export({ type: "pkcs8", format: "pem" }).toString(), chain, roots });
  return { token: () => byToken(bearer), certificate: () => byCertificate(new Metadata()) };
}

/** One-time tokens are the client's to make, and its time counts, as it does of whoever asks step-ca. */
async function stepAsk(): Promise<Ask> {
  await step.start();
  const jwk = JSON.parse(readFileSync(step.keyFile, "utf8")) as Record<string, string>;
  const key = createPrivateKey({ key: jwk, format: "jwk" });
  const agent = new Agent({ keepAlive: true, ca: readFileSync(step.rootsFile), maxSockets: 16 });
  const token = () => {
    const now = Math.floor(Date.now() / 1000);
    const signed = new SignJWT({ sans: [URI], jti: randomUUID() }).setProtectedHeader({ alg: "ES256", kid: jwk.kid ?? "" });
    return signed
      .setIssuer("garrison")
      .setSubject(URI)
      .setAudience(`${step.url}/1.0/sign`)
      .setNotBefore(now)
      .setExpirationTime(now + 120)
      .sign(key);
  };
  return async () => {
    const body = JSON.stringify({ csr, ott: await token() });
    await new Promise<void>((resolve, reject) => {
      const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
      const sent = httpsRequest(`${step.url}/1.0/sign`, { method: "POST", agent, headers }, (response) => {
        response.resume();
        response.once("end", () =>
          response.statusCode === 201 ? resolve() : reject(new Error(`step-ca answered ${response.statusCode}`)),
        );
      });
      sent.once("error", reject).end(body);
    });
  };
}

try {
  const asks: Readonly<Record<string, Ask>> = { "step-ca, one-time token": await stepAsk(), ...(await garrisonAsks()) };
  for (const concurrency of [1, 16]) {
    const best = new Map<string, Figures>();
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, ask] of Object.entries(asks)) {
        const figures = await measure(ask, concurrency);
        if (figures.perSecond > (best.get(name)?.perSecond ?? 0)) best.set(name, figures);
      }
    }
    const peer = best.get("step-ca, one-time token")?.perSecond ?? Number.NaN;
    for (const [name, figures] of best)
      print({ bench: "signing", name, concurrency, ...figures, timesStepCa: Number((figures.perSecond / peer).toFixed(2)) });
  }
  print({ bench: "signing", residentMiB: { garrison: residentMiB(serve.pid), stepCa: residentMiB(step.pid) } });
} finally {
  for (const client of clients) client.close();
  serve.kill();
  await step.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
