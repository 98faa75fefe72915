/**
 * CSR to certificate over the network, by `garrison serve` (gRPC, with a service-account token and with a client certificate), by step-ca (HTTPS, with one-time tokens, its database
 * on disk), and by a gRPC server that answers with what it has ready (what Node and grpc-js take at least), each a process of its own, asked in turns by one load generator in Go with 1 and
 * with 16 requests at a time. Keys are P-256 everywhere, and each server may use every core, which it shares with the client, whose CPU is printed beside the server's. What
 * clients prove themselves by is not alike: step-ca gets another token each time, which the client signs and it verifies; Garrison the same token or certificate
 * again, which it verifies once. step-ca is not asked for renewals by certificate, so that Garrison's have no peer. Needs Go and `npm run setup:go`.
 */
import { spawn, spawnSync } from "node:child_process";
import { createPrivateKey, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Client, Metadata } from "@grpc/grpc-js";
import { IstioCertificateRequestSchema, type IstioCertificateResponse, IstioCertificateService } from "../src/gen/istio/v1/auth/ca_pb.js";
import { clientCredentials, RotatingTlsMaterial } from "../src/rpc/credentials.ts";
import { serviceDefinition } from "../src/rpc/service.ts";
import { readControlPlaneFile } from "../src/server/files.ts";
import { buildCsr, generateKey } from "../src/x509/csr-builder.ts";
import { until } from "../test/fakes/processes.ts";
import { StepCa } from "../test/fixture/step-ca.ts";
import { buildClient } from "./clients/build.ts";
import { print } from "./harness.ts";
import { memoryOf } from "./process-usage.ts";
import { drive, type Figures } from "./signing/load.ts";

const ROOT = join(import.meta.dirname, "..");
const GARRISON = join(ROOT, "bin", "garrison.mjs");
const STEP_CA = join(process.env.GARRISON_GO_TOOLS ?? join(ROOT, ".tools", "go", "bin"), "step-ca");
/** For V8 to have compiled what is asked often. */
const WARM_UP = 4_000;
const [COUNT = 4_000, ROUNDS = 3] = process.argv.slice(2).map(Number);
const URI = "spiffe://cluster.local/ns/shop/sa/web";
const PEER = "step-ca, one-time token";

/** Who is asked, and how. */
interface Target {
  readonly pid: number;
  readonly flags: Readonly<Record<string, string>>;
}

const folder = mkdtempSync(join(tmpdir(), "garrison-bench-"));
const state = join(folder, "state");
mkdirSync(join(folder, "mesh"));
writeFileSync(join(folder, "mesh", "web.yaml"), "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: web, namespace: shop }\n");
const serve = spawn(process.execPath, [GARRISON, "serve", "--config", join(folder, "mesh"), "--state", state, "--listen", "127.0.0.1:0"], {
  stdio: "ignore",
});
const step = new StepCa({ program: STEP_CA, folder: join(folder, "step"), port: 19_443 });
const floorRoots = join(folder, "floor.pem");
const floor = spawn(process.execPath, ["--max-semi-space-size=4", join(import.meta.dirname, "signing", "floor.ts"), floorRoots], {
  stdio: ["ignore", "pipe", "inherit"],
});
const key = generateKey();

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

const pemOf = (privateKey: KeyObject): string => privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const csr = file("csr.pem", buildCsr(generateKey(), URI));

/** The certificate of the client that renews. */
async function firstCertificate(address: string, roots: string, token: string): Promise<IstioCertificateResponse> {
  const credentials = clientCredentials(new RotatingTlsMaterial({ key: "", chain: "", roots }), undefined, () => undefined);
  const client = new Client(address, credentials, { "grpc.ssl_target_name_override": "localhost" });
  const { CreateCertificate: method } = serviceDefinition(IstioCertificateService);
  if (method === undefined) throw new Error("no such method");
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const request = create(IstioCertificateRequestSchema, { csr: buildCsr(key, URI) });
  const deserialize = method.responseDeserialize as (bytes: Buffer) => IstioCertificateResponse;
  try {
    return await new Promise((resolve, reject) => {
      client.makeUnaryRequest(method.path, method.requestSerialize, deserialize, request, metadata, (error, answer) =>
        error === null && answer !== undefined ? resolve(answer) : reject(error),
      );
    });
  } finally {
    client.close();
  }
}

async function garrisonTargets(): Promise<Readonly<Record<string, Target>>> {
  await until("garrison serves", () => existsSync(join(state, "control-plane.json")));
  const token = spawnSync(process.execPath, [GARRISON, "token", "shop/web", "--state", state], { encoding: "utf8" }).stdout.trim();
  const { port, rootCertificate, pid } = readControlPlaneFile(state);
  const address = `127.0.0.1:${port}`;
  const [leaf = ""] = (await firstCertificate(address, readFileSync(rootCertificate, "utf8"), token)).certChain;
  const flags = { kind: "istio", url: `https://${address}`, roots: rootCertificate, csr };
  return {
    token: { pid, flags: { ...flags, token: file("token", token) } },
    certificate: { pid, flags: { ...flags, identity: file("identity.pem", leaf + pemOf(key)) } },
  };
}

/** One-time tokens are the client's to make, and its time counts, as it does of whoever asks step-ca. */
async function stepTarget(): Promise<Target> {
  await step.start();
  const jwk = JSON.parse(readFileSync(step.keyFile, "utf8")) as Record<string, string>;
  const provisioner = file("provisioner.pem", pemOf(createPrivateKey({ key: jwk, format: "jwk" })));
  return {
    pid: step.pid ?? 0,
    flags: { kind: "step", url: step.url, roots: step.rootsFile, csr, provisioner, kid: jwk.kid ?? "", uri: URI },
  };
}

async function floorTarget(): Promise<Target> {
  const [port] = (await once(floor.stdout, "data")) as [Buffer];
  const url = `https://127.0.0.1:${port.toString().trim()}`;
  return { pid: floor.pid ?? 0, flags: { kind: "istio", url, roots: floorRoots, csr } };
}

try {
  const load = buildClient("load");
  const targets: Readonly<Record<string, Target>> = {
    "gRPC server with an answer at hand": await floorTarget(),
    [PEER]: await stepTarget(),
    ...(await garrisonTargets()),
  };
  for (const { pid, flags } of Object.values(targets)) await drive(load, pid, { concurrency: 16, count: WARM_UP, flags });
  for (const concurrency of [1, 16]) {
    const count = concurrency === 1 ? Math.ceil(COUNT / 8) : COUNT;
    const best = new Map<string, Figures>();
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, { pid, flags }] of Object.entries(targets)) {
        const figures = await drive(load, pid, { concurrency, count, flags });
        if (figures.perSecond > (best.get(name)?.perSecond ?? 0)) best.set(name, figures);
      }
    }
    const peer = best.get(PEER);
    for (const [name, figures] of best) {
      const times = (mine: number, theirs = Number.NaN): number => Number((mine / theirs).toFixed(2));
      const ratios = {
        timesStepCa: times(figures.perSecond, peer?.perSecond),
        cpuOfStepCa: times(figures.serverCpuUs, peer?.serverCpuUs),
      };
      print({ bench: "signing", name, concurrency, ...figures, ...ratios });
    }
  }
  for (const name of [PEER, "token"]) {
    const { now, most } = memoryOf(targets[name]?.pid ?? 0);
    print({ bench: "signing", name, residentMiB: Math.round(now / 2 ** 20), peakMiB: Math.round(most / 2 ** 20) });
  }
} finally {
  floor.kill();
  serve.kill();
  await step.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
